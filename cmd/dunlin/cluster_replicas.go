package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

func newClusterReplicas() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "replicas NUMBER",
		Short: "Change how many nodes keep each shard",
		Long: `Change how many nodes keep each shard, while the cluster serves.

A cluster begins with the --replication-factor of the node that formed it, 3 unless said
otherwise. Each shard, and the group that holds what concerns the whole cluster, has the
largest odd number of voters that this number and the number of nodes allow: 5 wants five
nodes, and with four of them three vote. Of three replicas one may be lost, of five two;
each one more costs memory, disk and traffic. With 1, whatever is on a node that is lost
for good is lost.

The replicas come and go after the command has returned; dunlin cluster status shows them.`,
		Example: `  dunlin cluster replicas 5
  dunlin cluster status --groups`,
		Args: exactly("the number of replicas"),
		RunE: func(cmd *cobra.Command, args []string) error {
			want, err := strconv.Atoi(args[0])
			if err != nil || want < 1 || want > admin.MaxReplicas {
				return &usageError{fmt.Errorf("%q is not allowed: want a number from 1 to %d", args[0], admin.MaxReplicas)}
			}
			path := "/api/v1/cluster/replicas?" + url.Values{"factor": {strconv.Itoa(want)}}.Encode()
			if err := node.do(cmd.Context(), http.MethodPut, path, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "replicas wanted of each shard: %d; dunlin cluster status --groups shows how far they are\n", want)
			return err
		},
	}
	node.bind(cmd)
	return cmd
}
