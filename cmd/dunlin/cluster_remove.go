package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node/admin"
)

func newClusterRemove() *cobra.Command {
	var (
		node api
		undo bool
		wait bool
	)
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Empty a node and have it leave the cluster",
		Long: `Empty a node and have it leave the cluster, for good.

It is drained: it takes no new clients, and those that are there are asked to go, 500 in a second,
or at the rate of cluster drain if it is drained already. Its replicas move to the other nodes while
all go on serving. When it holds none any more, and its clients are gone, it has left. Then stop its
process, and empty its data directory before it is used again: started with it, the node would enter
the cluster as a new one.

NODE is a name as cluster status shows it; or its number, or its identity, if several have
that name. A dead node is removed in the same way. A node that comes back with an empty data
directory under its name needs no removal: the cluster removes the one that it was.`,
		Example: `  dunlin cluster remove n4 --wait
  dunlin cluster remove n4 --wait --timeout 10m
  dunlin cluster remove n4 --undo`,
		Args: exactly("the node's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := one("the node's name", args[0]); err != nil {
				return err
			}
			if undo && wait {
				return wrongUsage("--undo and --wait: want one of them")
			}
			path, out := "/api/v1/cluster/nodes/"+segment(args[0]), cmd.OutOrStdout()
			if undo {
				if err := node.do(cmd.Context(), http.MethodPost, path+"/stay", nil); err != nil {
					return err
				}
				_, err := fmt.Fprintf(out, "%s stays\n", args[0])
				return err
			}
			if err := node.do(cmd.Context(), http.MethodDelete, path, nil); err != nil {
				return err
			}
			if !wait {
				_, err := fmt.Fprintf(out, "%s is leaving; dunlin cluster status shows what it still holds\n", args[0])
				return err
			}
			ctx := cmd.Context()
			if cmd.Flags().Changed("timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, node.timeout)
				defer cancel()
			}
			if err := untilLeft(ctx, &node, args[0], terminal.NewStatus(cmd.ErrOrStderr())); err != nil {
				return err
			}
			_, err := fmt.Fprintf(out, "%s has left the cluster\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take back the removal of a node that has not left yet")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the node has left")
	node.bind(cmd)
	cmd.Flags().Lookup("timeout").Usage = "how long to wait; with --wait, unless it is given, until the node has left"
	return cmd
}

// removalLook is how often a node that is leaving is looked after.
const removalLook = time.Second

// untilLeft looks once a second whether a node that is leaving has left, and shows
// what it still holds. The wait ends with ctx, the leaving does not.
func untilLeft(ctx context.Context, node *api, name string, p *terminal.Status) error {
	defer p.Clear()
	look := time.NewTicker(removalLook)
	defer look.Stop()
	left := ""
	for {
		var st admin.ClusterStatus
		err := node.do(ctx, http.MethodGet, "/api/v1/cluster", &st)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return fmt.Errorf("interrupted: %s has not left%s; it goes on leaving", name, left)
		case ctx.Err() != nil:
			return fmt.Errorf("%s has not left after %v%s; it goes on leaving", name, node.timeout, left)
		}
		if err != nil {
			return fmt.Errorf("%s is leaving, and whether it has left is not known: %w", name, err)
		}
		n := slices.IndexFunc(st.Nodes, func(n admin.ClusterNode) bool {
			return n.Leaving && isNamed(&n, name)
		})
		if n < 0 {
			return nil
		}
		left = fmt.Sprintf(", it still holds %d replicas", replicasOf(&st, st.Nodes[n].Identity))
		if clients := st.Nodes[n].Clients; clients != nil {
			left += fmt.Sprintf(" and has %d clients", *clients)
		}
		p.Line("%s is leaving%s", name, left)
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}

// replicasOf is how many replicas a node holds, of the shards and of meta.
func replicasOf(st *admin.ClusterStatus, identity string) (n int) {
	for _, g := range st.Groups {
		if slices.ContainsFunc(g.Replicas, func(r admin.GroupReplica) bool { return r.Node == identity }) {
			n++
		}
	}
	return n
}
