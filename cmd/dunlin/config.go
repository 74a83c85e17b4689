package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"dunlin/node/config"
)

func newConfig() *cobra.Command {
	return parent("config", "Check and show configuration", newConfigCheck(), newConfigShow())
}

func newConfigCheck() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "check [flags of dunlin serve]",
		Short: "Say whether a node would start with this configuration",
		Example: `  dunlin config check --config dunlin.yaml
  DUNLIN_LIMITS__MAX_KEEPALIVE=60s dunlin config check --mqtt-addr 127.0.0.1:2883`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := s.load(); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
			return err
		},
	}
	s.bind(cmd)
	return cmd
}

// shownSetting is one line of config show.
type shownSetting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func newConfigShow() *cobra.Command {
	var (
		s    settings
		form format
	)
	cmd := &cobra.Command{
		Use:     "show [flags of dunlin serve]",
		Short:   "Show every setting, its value and where that comes from",
		Example: `  dunlin config show --config dunlin.yaml -o yaml`,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, origins, err := s.load()
			if err != nil {
				return err
			}
			var all []shownSetting
			table := newTable("KEY", "VALUE", "SOURCE")
			for _, set := range config.Settings(&c) {
				line := shownSetting{set.Key, set.Shown(), origins[set.Key]}
				all = append(all, line)
				table.row(line.Key, line.Value, line.Source)
			}
			return form.print(cmd.OutOrStdout(), all, table)
		},
	}
	s.bind(cmd)
	form.bind(cmd)
	return cmd
}
