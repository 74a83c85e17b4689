package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func newClusterRebalance() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Even out now which node leads how many shards",
		Long: `Even out now which node leads how many shards.

The cluster does so by itself when all nodes have been there for fifteen seconds, and moves
replicas whenever nodes come and go. This only saves the wait, after a restart for example;
while a node is missing, leaders stay where they are.`,
		Example: `  dunlin cluster rebalance`,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := node.do(cmd.Context(), http.MethodPost, "/api/v1/cluster/rebalance", nil); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "leaders are moving; dunlin cluster status shows who leads")
			return err
		},
	}
	node.bind(cmd)
	return cmd
}
