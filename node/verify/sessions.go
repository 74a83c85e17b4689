package verify

import (
	"context"
	"fmt"
)

// sessions compares what the shards say of connections with the connections of the
// nodes, shard by shard: each claim has its connection, and each connection that
// holds a client identifier has the claim.
func (r *run) sessions(ctx context.Context, shards []int) (found []Finding) {
	for _, sh := range shards {
		r.Report(fmt.Sprintf("sessions of shard %d of %d", sh, r.Shards))
		found = append(found, r.shardSessions(ctx, sh)...)
	}
	return found
}

// holder is a connection of a node.
type holder struct {
	node string
	conn uint64
}

func (r *run) shardSessions(ctx context.Context, sh int) (found []Finding) {
	ctx, cancel := context.WithTimeout(ctx, 10*askTimeout)
	defer cancel()
	nodes := r.Nodes()
	claims := make(map[holder]Session)
	if err := r.Ask.Sessions(ctx, sh, func(s Session) {
		claims[holder{s.Node, s.Conn}] = s
		if home := r.SessionShard(s.Client); home != sh {
			found = append(found, Finding{Kind: "session-misplaced", Shard: sh, Client: s.Client,
				Text: fmt.Sprintf("its session is here, and belongs to shard %d", home)})
		}
	}); err != nil {
		return []Finding{{Kind: "silent", Shard: sh, Text: "its sessions cannot be listed: " + err.Error()}}
	}
	holders := make(map[string]string) // by client: the node of a connection that holds it
	listed := make(map[string]bool)
	for _, n := range nodes {
		if r.silent[n.Identity] {
			continue
		}
		if err := r.Ask.Connections(ctx, n.Identity, sh, func(c Connection) {
			at := holder{n.Identity, c.Conn}
			claim, ok := claims[at]
			delete(claims, at)
			f := Finding{Kind: "connection", Shard: sh, Node: n.Name, Client: c.Client, at: c.Epoch}
			switch other := holders[c.Client]; {
			case other != "":
				f.Kind = "connection-twice"
				f.Text = "two connections hold it, the other on node " + other
				found = append(found, f)
			case !ok:
				f.Text = "a connection holds it and the shard knows of no such claim"
				found = append(found, f)
			case claim.Client != c.Client || claim.Epoch != c.Epoch:
				f.Text = fmt.Sprintf("a connection holds it in epoch %d, the shard says epoch %d", c.Epoch, claim.Epoch)
				found = append(found, f)
			}
			holders[c.Client] = n.Name
		}); err != nil {
			found = append(found, silent(n, sh, err))
			continue
		}
		listed[n.Identity] = true
	}
	for at, s := range claims {
		f := Finding{Kind: "session", Shard: sh, Node: nameOf(nodes, at.node), Client: s.Client, at: s.Epoch}
		switch {
		case listed[at.node]:
			f.Text = "its session is attached to a connection that is not there"
		case nameOf(nodes, at.node) == at.node:
			f.Text = "its session is attached to a node that is not there"
		default:
			continue // it did not answer, which is said already
		}
		found = append(found, f)
	}
	return found
}
