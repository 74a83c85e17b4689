package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func newClusterTransfer() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "transfer GROUP NODE",
		Short: "Have a node lead a group",
		Long: `Have a node lead a group: a shard by its number, or meta.

The node must hold a replica of the group that votes; cluster status --groups shows who does.
The cluster may move the leadership again when one node leads more shards than another.`,
		Example: `  dunlin cluster transfer 3 n2
  dunlin cluster transfer meta n1`,
		Args: exactly("the group", "the node's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := one("the group", args[0]); err != nil {
				return err
			}
			path := "/api/v1/cluster/groups/" + segment(args[0]) + "/leader?" + url.Values{"node": {args[1]}}.Encode()
			if err := node.do(cmd.Context(), http.MethodPost, path, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "group %s passes to %s\n", args[0], args[1])
			return err
		},
	}
	node.bind(cmd)
	return cmd
}
