package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

func newClusterRebalance() *cobra.Command {
	var (
		node        api
		rate        perSecond
		connections bool
	)
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Even out now which node leads how many shards, or has how many clients",
		Long: `Even out now which node leads how many shards.

The cluster does so by itself when all nodes have been there for fifteen seconds, and moves
replicas whenever nodes come and go. This only saves the wait, after a restart for example;
while a node is missing, leaders stay where they are.

With --connections it is about clients, which never move by themselves: where a node has more
than the average and a twentieth, it asks those beyond the average to go elsewhere, as in a
drain, in random order and no more in a second than --rate at all nodes together. Each excess is
asked once. Where they come to is the load balancer's doing, so that it may take a second time.`,
		Example: `  dunlin cluster rebalance
  dunlin cluster rebalance --connections --rate 100/s`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if cmd.Flags().Changed("rate") && !connections {
				return wrongUsage("--rate is for --connections")
			}
			if !connections {
				if err := node.do(cmd.Context(), http.MethodPost, "/api/v1/cluster/rebalance", nil); err != nil {
					return err
				}
				_, err := fmt.Fprintln(out, "leaders are moving; dunlin cluster status shows who leads")
				return err
			}
			var e admin.Evening
			if err := node.do(cmd.Context(), http.MethodPost, fmt.Sprintf("/api/v1/cluster/connections/rebalance?rate=%d", int(rate)), &e); err != nil {
				return err
			}
			if len(e.Nodes) == 0 {
				_, err := fmt.Fprintln(out, "connections are even")
				return err
			}
			var failed error
			for _, n := range e.Nodes {
				if n.Failed != "" {
					failed = errors.Join(failed, fmt.Errorf("%s was not asked to send %d clients elsewhere: %s", n.Name, n.Asks, n.Failed))
					continue
				}
				if _, err := fmt.Fprintf(out, "%s asks %d clients to go, at most %d in a second\n", n.Name, n.Asks, n.Rate); err != nil {
					return err
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&connections, "connections", false, "even out clients' connections, in place of leaders")
	rate.bind(cmd, "with --connections, clients that are asked to go in a second, at most")
	node.bind(cmd)
	return cmd
}
