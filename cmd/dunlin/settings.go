package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dunlin/node/config"
)

// settings are the flags of a command that loads a node's configuration.
type settings struct {
	file  string
	flags []*settingFlag
}

// settingFlag is the flag of a setting. It holds what was given; config.Load
// judges it.
type settingFlag struct {
	config.Setting
	value string
	given bool
}

func (f *settingFlag) String() string { return f.value }
func (f *settingFlag) Type() string   { return f.Kind }
func (f *settingFlag) Set(v string) error {
	f.value, f.given = v, true
	return nil
}

// bind gives cmd --config and a flag for each setting that has one, and help
// that shows them by group.
func (s *settings) bind(cmd *cobra.Command) {
	defaults := config.Default()
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.file, "config", "", "YAML `file` with settings")
	groups := []*pflag.FlagSet{newGroup("Configuration")}
	groups[0].AddFlag(flags.Lookup("config"))
	for _, set := range config.Settings(&defaults) {
		if !set.HasFlag() {
			continue
		}
		f := &settingFlag{Setting: set, value: set.Value()}
		s.flags = append(s.flags, f)
		pf := flags.VarPF(f, set.Key, "", set.Help)
		if set.Switch {
			pf.NoOptDefVal = "true"
			pf.DefValue = "" // false goes without saying
		}
		if groups[len(groups)-1].Name() != set.Group {
			groups = append(groups, newGroup(set.Group))
		}
		groups[len(groups)-1].AddFlag(pf)
	}
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		var b strings.Builder
		b.WriteString("Usage:\n  " + cmd.UseLine() + "\n")
		if cmd.HasExample() {
			b.WriteString("\nExamples:\n" + cmd.Example + "\n")
		}
		for _, g := range groups {
			b.WriteString("\n" + g.Name() + ":\n" + g.FlagUsagesWrapped(100))
		}
		_, err := cmd.OutOrStderr().Write([]byte(b.String()))
		return err
	})
}

func newGroup(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	return fs
}

// load puts the configuration together.
func (s *settings) load() (config.Config, config.Origins, error) {
	src := config.Source{File: s.file, Env: os.Environ(), Flags: make(map[string]string)}
	for _, f := range s.flags {
		if f.given {
			src.Flags[f.Key] = f.value
		}
	}
	return config.Load(src)
}
