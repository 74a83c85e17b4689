package main

import (
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

func newCluster() *cobra.Command {
	return parent("cluster", "Look at the cluster, back it up, restore it", newClusterStatus(),
		newClusterBackup(), newClusterRestore(), newClusterRecover())
}

func newClusterStatus() *cobra.Command {
	var (
		node api
		form format
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the nodes as one of them sees them",
		Example: `  dunlin cluster status
  dunlin cluster status --http 127.0.0.1:18084 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list admin.NodeList
			if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/nodes", &list); err != nil {
				return err
			}
			t := newTable("NAME", "STATE", "ADDRESSES", "IDENTITY")
			for _, n := range list.Nodes {
				name := n.Name
				if n.Self {
					name += " (asked)"
				}
				var addrs []string
				for what, addr := range n.Address {
					addrs = append(addrs, what+"="+addr)
				}
				slices.Sort(addrs)
				t.row(name, n.State, strings.Join(addrs, " "), n.Identity)
			}
			return form.print(cmd.OutOrStdout(), list, t)
		},
	}
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}
