package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node"
)

func newClusterRecover() *cobra.Command {
	var (
		dirs   []string
		accept bool
	)
	cmd := &cobra.Command{
		Use:   "recover --data-dir DIR [--data-dir DIR]... [FILE]",
		Short: "Save what is left when most nodes are lost for good",
		Long: `Save what is left of a cluster that has lost the majority of the replicas of
its shards for good: their disks are gone. It is the last resort. While a majority
can still be started, start it: a cluster heals by itself and loses nothing.

The command reads the data directories of the nodes that are left, which have to
be stopped, and says of each shard which of them goes furthest and whether that
is all. With --accept-loss it writes what they have into FILE, a backup, which
"dunlin cluster restore" gives to a new cluster. The directories stay as they are.

What may be lost, and what may be there too much:
- A shard of which most voters are missing may lack the latest that was
  acknowledged: messages, sessions, acknowledgements, subscriptions. It may hold
  what was never acknowledged: a message whose publisher was told nothing.
- A shard that none of the directories has is lost: its sessions with their
  queues, its retained messages, its wills.
- A message that was acknowledged to the cluster may come again, at QoS 2 too.
- Nodes of the old cluster must never be started again: there would be two.

Name the directories of all nodes that are left in one command: each may have
shards, or entries, that the others lack.`,
		Example: `  dunlin cluster recover --data-dir /var/lib/dunlin                 what is left?
  dunlin cluster recover --data-dir n1 --data-dir n2 --accept-loss saved.backup
  dunlin serve --data-dir /var/lib/dunlin-new --shards 16           a new cluster
  dunlin cluster restore --data-dir /var/lib/dunlin-new saved.backup`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(dirs) == 0:
				return wrongUsage("want the data directories of the nodes that are left: --data-dir")
			case accept && len(args) != 1:
				return wrongUsage("%s: want the file to write", cmd.CommandPath())
			case !accept && len(args) > 0:
				return wrongUsage("something may be lost, see %s --help: want --accept-loss", cmd.CommandPath())
			}
			r, err := node.OpenRecovery(dirs, slog.New(slog.NewTextHandler(io.Discard, nil)))
			if err != nil {
				return err
			}
			if !accept {
				return errors.Join(reportRemains(cmd.OutOrStdout(), r), r.Close())
			}
			p := terminal.NewStatus(cmd.ErrOrStderr())
			_, err = writeFile(cmd.Context(), args[0], func(to *os.File) (struct{}, error) {
				return struct{}{}, r.Write(to, func(sh int) { p.Line("shard %d of %d", sh+1, len(r.Shards())) })
			})
			p.Clear()
			if err = errors.Join(err, r.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "saved what is left of cluster %s into %s: %s\n", r.Cluster(), args[0], remainsOf(r))
			return err
		},
	}
	cmd.Flags().StringArrayVar(&dirs, "data-dir", nil, "a stopped node's data `directory`; may be given several times")
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "write the file, though something may be missing in it")
	return cmd
}

// reportRemains lists what is left of each shard.
func reportRemains(w io.Writer, r *node.Recovery) error {
	t := newTable("SHARD", "REPLICAS", "FURTHEST", "TERM", "INDEX", "WHAT IS LEFT")
	for _, s := range r.Shards() {
		t.row(strconv.Itoa(s.Shard), fmt.Sprintf("%d of %d", s.Found, s.Voters), s.Node,
			strconv.FormatUint(s.Term, 10), strconv.FormatUint(s.Index, 10), left(s))
	}
	if err := t.print(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "cluster %s: %s\nnothing was written; to write it, give a file and --accept-loss\n", r.Cluster(), remainsOf(r))
	return err
}

func left(s node.Salvage) string {
	switch {
	case s.Node == "":
		return "nothing: it is lost"
	case s.Whole():
		return "all that was acknowledged"
	}
	return "the latest may be missing"
}

// remainsOf sums it up.
func remainsOf(r *node.Recovery) string {
	whole, behind, lost := 0, 0, 0
	for _, s := range r.Shards() {
		switch {
		case s.Node == "":
			lost++
		case s.Whole():
			whole++
		default:
			behind++
		}
	}
	return fmt.Sprintf("%d shards whole, %d that may lack the latest, %d lost", whole, behind, lost)
}
