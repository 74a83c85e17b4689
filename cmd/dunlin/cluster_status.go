package main

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

func newClusterStatus() *cobra.Command {
	var (
		node   api
		form   format
		groups bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes of the cluster and what they hold",
		Long: `Show the nodes of the cluster and what they hold, as the node that is asked finds it.

STATE   alive; silent: it has not answered; outside: gossip knows it, and it has not
        entered the cluster yet, or has left it; and leaving: it is being emptied,
        see cluster remove; draining, drained or cordoned: see cluster drain
RELEASE what it runs, or ran when it was last heard; - if that does not say so
LEVELS  those that this release can work at. Below the table is the one in force: what all
        nodes understand, and therefore use
CLIENTS clients that are connected to it, and of a node with too many after
        cluster rebalance --connections how many it is still to ask to go
LEADS   shards that it leads
VOTES   shards that it holds a replica of which votes
LEARNS  shards that it holds a replica of which is still catching up
META    its part in the group that holds what concerns the whole cluster:
        leader, voter, or learner, which most nodes are`,
		Example: `  dunlin cluster status
  dunlin cluster status --groups
  dunlin cluster status --http 127.0.0.1:18084 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st admin.ClusterStatus
			if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/cluster", &st); err != nil {
				return err
			}
			if groups {
				return form.print(cmd.OutOrStdout(), st, tableOfGroups(&st))
			}
			var known admin.NodeList
			if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/nodes", &known); err != nil {
				return err
			}
			return form.print(cmd.OutOrStdout(), st, tableOfNodes(&st, known.Nodes))
		},
	}
	cmd.Flags().BoolVar(&groups, "groups", false, "show the groups: the shards and meta, who leads and holds each")
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}

func tableOfNodes(st *admin.ClusterStatus, known []admin.Node) *table {
	t := newTable("NAME", "STATE", "NUMBER", "RELEASE", "LEVELS", "CLIENTS", "LEADS", "VOTES", "LEARNS", "META", "ADDRESSES", "IDENTITY")
	if st.Level > 0 {
		t.note = "level in force: " + strconv.FormatUint(uint64(st.Level), 10)
	}
	entered := make(map[string]bool)
	for _, n := range st.Nodes {
		entered[n.Identity] = true
		name, state := n.Name, "alive"
		if !n.Alive {
			state = "silent"
		}
		if n.Leaving {
			state += ", leaving"
		}
		if d := drainState(st, &n); d != "" {
			state += ", " + d
		}
		var addrs string
		if i := slices.IndexFunc(known, func(k admin.Node) bool { return k.Identity == n.Identity }); i >= 0 {
			addrs = addresses(known[i])
			if known[i].Self {
				name += " (asked)"
			}
		}
		leads, votes, learns, meta := part(st, n.Identity)
		t.row(name, state, strconv.FormatUint(uint64(n.Number), 10), cmp.Or(n.Release, "-"), levels(n), clientsOf(&n), strconv.Itoa(leads), strconv.Itoa(votes),
			strconv.Itoa(learns), meta, addrs, n.Identity)
	}
	for _, k := range known {
		if !entered[k.Identity] {
			t.row(k.Name, "outside", "", "", "", "", "", "", "", "", addresses(k), k.Identity)
		}
	}
	return t
}

// levels is what a node's release can work at: "2", "1-2", or "-" of an answer that does not say.
func levels(n admin.ClusterNode) string {
	oldest, newest := strconv.FormatUint(uint64(n.OldestLevel), 10), strconv.FormatUint(uint64(n.NewestLevel), 10)
	switch {
	case n.NewestLevel == 0:
		return "-"
	case oldest == newest:
		return newest
	}
	return oldest + "-" + newest
}

// drainState says in a word how a node is being drained.
func drainState(st *admin.ClusterStatus, n *admin.ClusterNode) string {
	switch {
	case n.Drain == nil:
		return ""
	case n.Drain.Cordon:
		return "cordoned"
	case restOf(st, n).none():
		return "drained"
	}
	return "draining"
}

func clientsOf(n *admin.ClusterNode) string {
	switch {
	case n.Clients == nil:
		return "?"
	case n.ToAsk > 0:
		return fmt.Sprintf("%d (%d to go)", *n.Clients, n.ToAsk)
	}
	return strconv.Itoa(*n.Clients)
}

// part is what a node does in the groups.
func part(st *admin.ClusterStatus, identity string) (leads, votes, learns int, meta string) {
	for _, g := range st.Groups {
		i := slices.IndexFunc(g.Replicas, func(r admin.GroupReplica) bool { return r.Node == identity })
		if i < 0 {
			continue
		}
		switch leader, voter := g.Leader == identity, g.Replicas[i].Voter; {
		case g.Group == "meta" && leader:
			meta = "leader"
		case g.Group == "meta" && voter:
			meta = "voter"
		case g.Group == "meta":
			meta = "learner"
		case voter:
			votes++
			if leader {
				leads++
			}
		default:
			learns++
		}
	}
	return leads, votes, learns, meta
}

func addresses(n admin.Node) string {
	var addrs []string
	for what, addr := range n.Address {
		addrs = append(addrs, what+"="+addr)
	}
	slices.Sort(addrs)
	return strings.Join(addrs, " ")
}

func tableOfGroups(st *admin.ClusterStatus) *table {
	names := make(map[string]string) // by identity
	for _, n := range st.Nodes {
		names[n.Identity] = n.Name
	}
	t := newTable("GROUP", "LEADER", "TERM", "COMMIT", "VOTERS", "LEARNERS")
	for _, g := range st.Groups {
		var voters, learners []string
		for _, r := range g.Replicas {
			name := names[r.Node]
			if name == "" {
				name = r.Node
			}
			switch {
			case !r.Running:
				name += " (silent)"
			case r.Applied < g.Commit:
				name += " (-" + strconv.FormatUint(g.Commit-r.Applied, 10) + ")" // entries behind
			}
			if r.Voter {
				voters = append(voters, name)
			} else {
				learners = append(learners, name)
			}
		}
		leader := names[g.Leader]
		if g.Leader == "" {
			leader = "none"
		}
		t.row(g.Group, leader, strconv.FormatUint(g.Term, 10), strconv.FormatUint(g.Commit, 10),
			strings.Join(voters, " "), strings.Join(learners, " "))
	}
	return t
}
