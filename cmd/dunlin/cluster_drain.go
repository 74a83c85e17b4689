package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node/admin"
)

// perSecond is the flag --rate: how many clients are asked to go in a second.
type perSecond int

func (r *perSecond) String() string { return strconv.Itoa(int(*r)) + "/s" }
func (r *perSecond) Type() string   { return "rate" }
func (r *perSecond) Set(v string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(v, "/s"))
	if err != nil || n < 1 || n > admin.MaxRate {
		return fmt.Errorf("want clients in a second, 1/s to %d/s", admin.MaxRate)
	}
	*r = perSecond(n)
	return nil
}

func (r *perSecond) bind(cmd *cobra.Command, usage string) {
	*r = admin.DefaultRate
	cmd.Flags().Var(r, "rate", usage)
}

func newClusterDrain() *cobra.Command {
	var (
		node  api
		rate  perSecond
		order admin.DrainOrder
		self  bool
		wait  bool
	)
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Have clients leave a node, and the node lead nothing",
		Long: `Have clients leave a node, and the node lead nothing, before it is stopped for example.

At once the node is not ready, so that load balancers send nobody there, and refuses clients that
come: 5.0 ones are told 0x9C, use another server, and which if server-reference is set, others
return code 3. What it leads passes to other nodes, and does not come back. The clients that are
there are asked to go, in random order and no more in a second than --rate: 5.0 ones by DISCONNECT
with 0x9C, others by the end of the connection. They lose nothing: sessions, queues and what they
have acknowledged are the cluster's. Their wills are due as after any other end of a connection:
after their delay, unless the client is back before.

The command waits until no client and nothing to lead is left. With --timeout it gives up then,
and says what is left; the node is drained further. With --cordon clients stay, and only new ones
are refused.

The cluster remembers: a node that starts anew is drained still, unless --until-restart was said
and it had not been drained without before. The last node that takes clients is not drained. Nor
is a node without which, and without those that are drained already or cannot be reached, shards
would have no majority: of three nodes one at a time. --force has it be drained all the same. NODE
is a name as cluster status shows it, or its number, or its identity.`,
		Example: `  dunlin cluster drain n2
  dunlin cluster drain n2 --rate 100/s --timeout 10m
  dunlin cluster drain n2 --cordon
  dunlin cluster drain --self --until-restart --timeout 1m    # before a node is stopped, at the node`,
		Args: func(cmd *cobra.Command, args []string) error {
			if self {
				return exactly()(cmd, args)
			}
			return exactly("the node's name, or --self")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if order.Notice < 0 || order.Notice > admin.MaxNotice {
				return wrongUsage("--notice %v: want 0s to %v", order.Notice, admin.MaxNotice)
			}
			limited := cmd.Flags().Changed("timeout")
			if limited {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, node.timeout)
				defer cancel()
			}
			name, err := nodeNamed(ctx, &node, args)
			if err != nil {
				return err
			}
			q := url.Values{"rate": {strconv.Itoa(int(rate))}, "notice": {order.Notice.String()}}
			for flag, set := range map[string]bool{"cordon": order.Cordon, "force": order.Force, "for-good": order.ForGood, "until-restart": order.UntilRestart} {
				q.Set(flag, strconv.FormatBool(set))
			}
			if err := node.do(ctx, http.MethodPost, drainPath(name)+"?"+q.Encode(), nil); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case order.Cordon:
				_, err = fmt.Fprintf(out, "%s is cordoned: no new clients are let in; dunlin cluster undrain %s takes it back\n", name, name)
				return err
			case !wait:
				_, err = fmt.Fprintf(out, "%s is being drained; dunlin cluster status shows how far it is\n", name)
				return err
			}
			w := drainWait{node: &node, name: name, limited: limited, show: terminal.NewStatus(cmd.ErrOrStderr())}
			done, err := w.untilDrained(ctx)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s\n", done)
			return err
		},
	}
	flags := cmd.Flags()
	rate.bind(cmd, "clients that are asked to go in a second, at most")
	flags.BoolVar(&order.Cordon, "cordon", false, "let nobody in, and ask nobody to go")
	flags.BoolVar(&order.Force, "force", false, "drain also a node without which shards would have no majority")
	flags.BoolVar(&order.UntilRestart, "until-restart", false, "take clients again when the node has been started anew")
	flags.BoolVar(&order.ForGood, "for-good", false, "tell 5.0 clients 0x9D, server moved: the node is never to be used again")
	flags.DurationVar(&order.Notice, "notice", 0, "`time` for load balancers to see that the node is not ready, in which it lets clients in still")
	flags.BoolVar(&self, "self", false, "drain the node that is asked, in place of NODE")
	flags.BoolVar(&wait, "wait", true, "wait until the node is drained")
	node.bind(cmd)
	flags.Lookup("timeout").Usage = "how long to wait; unless it is given, until the node is drained"
	flags.Lookup("timeout").DefValue = "0s"
	return cmd
}

func newClusterUndrain() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "undrain NODE",
		Short: "Have a node take clients again that is drained or cordoned",
		Long: `Have a node take clients again that is drained or cordoned: it is ready at once, and leads its
part again when all nodes have been there for fifteen seconds, or after cluster rebalance. Clients
come as they connect anew; cluster rebalance --connections has those of other nodes come.`,
		Example: `  dunlin cluster undrain n2`,
		Args:    exactly("the node's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := one("the node's name", args[0]); err != nil {
				return err
			}
			if err := node.do(cmd.Context(), http.MethodDelete, drainPath(args[0]), nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s takes clients\n", args[0])
			return err
		},
	}
	node.bind(cmd)
	return cmd
}

func drainPath(node string) string { return "/api/v1/cluster/nodes/" + segment(node) + "/drain" }

// nodeNamed is the node that args name, or the one that is asked if they name none.
func nodeNamed(ctx context.Context, node *api, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], one("the node's name", args[0])
	}
	var known admin.NodeList
	if err := node.do(ctx, http.MethodGet, "/api/v1/nodes", &known); err != nil {
		return "", err
	}
	i := slices.IndexFunc(known.Nodes, func(n admin.Node) bool { return n.Self })
	if i < 0 {
		return "", errors.New("the node does not say which one it is")
	}
	return known.Nodes[i].Identity, nil
}

// drainWait waits for a node that is being drained.
type drainWait struct {
	node    *api
	name    string
	limited bool // by node.timeout
	show    *terminal.Status
}

// drainLook is how often a node that is being drained is looked after.
const drainLook = 250 * time.Millisecond

// untilDrained waits, and says what is to be said in the end. The wait ends with ctx, the drain
// does not.
func (w *drainWait) untilDrained(ctx context.Context) (done string, err error) {
	defer w.show.Clear()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	left := "what is left is not known"
	for {
		var st admin.ClusterStatus
		err := w.node.do(ctx, http.MethodGet, "/api/v1/cluster", &st)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return "", fmt.Errorf("interrupted: %s is not drained, %s; it goes on", w.name, left)
		case ctx.Err() != nil:
			return "", fmt.Errorf("%s is not drained after %v, %s; it goes on, and dunlin cluster undrain %s takes it back", w.name, w.node.timeout, left, w.name)
		case err != nil:
			return "", fmt.Errorf("%s is being drained, and how far is not known: %w", w.name, err)
		}
		n := slices.IndexFunc(st.Nodes, func(n admin.ClusterNode) bool { return isNamed(&n, w.name) })
		switch {
		case n < 0:
			return "", fmt.Errorf("%s is no node of the cluster any more", w.name)
		case st.Nodes[n].Drain == nil:
			return "", fmt.Errorf("%s is drained no longer: that was taken back, or it has started anew", w.name)
		}
		x := restOf(&st, &st.Nodes[n])
		if x.none() {
			return x.done(st.Nodes[n].Name), nil
		}
		left = x.String()
		w.show.Line("%s: %s", st.Nodes[n].Name, left)
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}

// isNamed says whether people mean a node by a name.
func isNamed(n *admin.ClusterNode, name string) bool {
	return n.Name == name || n.Identity == name || strconv.FormatUint(uint64(n.Number), 10) == name
}

// rest is what is left at a node that is being drained.
type rest struct {
	phase   string
	clients *int // nil: it does not say
	rate    int
	leads   int // groups that another node could lead
	stuck   int // and those that no other could
}

func restOf(st *admin.ClusterStatus, n *admin.ClusterNode) rest {
	r := rest{phase: n.Drain.Phase, clients: n.Clients, rate: n.Drain.Rate}
	for _, g := range st.Groups {
		if g.Leader != n.Identity {
			continue
		}
		if slices.ContainsFunc(g.Replicas, func(r admin.GroupReplica) bool {
			return r.Node != n.Identity && r.Voter && r.Running && mayLead(st, r.Node)
		}) {
			r.leads++
		} else {
			r.stuck++
		}
	}
	return r
}

// mayLead says that a node is not drained itself.
func mayLead(st *admin.ClusterStatus, identity string) bool {
	return slices.ContainsFunc(st.Nodes, func(n admin.ClusterNode) bool {
		return n.Identity == identity && n.Alive && !n.Leaving && (n.Drain == nil || n.Drain.Cordon)
	})
}

// none says that nothing is left but what cannot go.
func (r rest) none() bool {
	return r.phase == admin.PhaseAsked && r.clients != nil && *r.clients == 0 && r.leads == 0
}

func (r rest) String() string {
	clients := "it does not say how many clients are left"
	if r.clients != nil {
		clients = fmt.Sprintf("%d clients and %d leaders are left", *r.clients, r.leads)
	}
	switch r.phase {
	case admin.PhaseNotice:
		return clients + ", none are asked to go yet"
	case admin.PhaseAsking:
		return fmt.Sprintf("%s, at most %d clients are asked to go in a second", clients, r.rate)
	}
	return clients
}

func (r rest) done(name string) string {
	if r.stuck > 0 {
		return fmt.Sprintf("%s is drained, but for %d groups that no other node could lead", name, r.stuck)
	}
	return name + " is drained"
}
