package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"dunlin/node/audit"
	"dunlin/node/broker"
	"dunlin/node/config"
	"dunlin/node/metrics"
	"dunlin/raftstore/meta"
)

// openAudit opens the audit log; nil if there is to be none.
func openAudit(cfg config.Config, log *slog.Logger) (*audit.Log, error) {
	a := cfg.Audit
	if !a.Enabled {
		return nil, nil
	}
	l, err := audit.Open(audit.Options{File: a.File, MaxSize: a.MaxSize, Keep: a.Keep, Log: log})
	if err != nil {
		return nil, fmt.Errorf("audit.file: %w", err)
	}
	return l, nil
}

// denied writes down what a client is refused. It is called on event loops.
func (n *Node) denied(d broker.Denial) {
	kind := audit.Connect
	switch d.What {
	case broker.AttemptPublish:
		kind = audit.Publish
	case broker.AttemptSubscribe:
		kind = audit.Subscribe
	}
	n.audit.Refused(kind, func() audit.Event {
		return audit.Event{Who: d.User, From: d.Remote.String(), Client: d.ClientID, Target: string(d.Target), Why: d.Why}
	})
}

// strangerRefused writes down who is no member and came to a port of the cluster's.
func (n *Node) strangerRefused(why, from string) {
	n.audit.Refused(audit.Stranger, func() audit.Event { return audit.Event{From: from, Why: why} })
}

// auditReloads has it be written down when files change that say who may do what.
func (n *Node) auditReloads() {
	var files []watched
	files = append(files, n.access.files...)
	files = append(files, n.secrets.files...)
	if n.tokens.file != nil {
		files = append(files, n.tokens.file)
	}
	if n.front.certs != nil {
		files = append(files, n.front.certs)
	}
	if n.web != nil {
		files = append(files, n.web)
	}
	for _, f := range files {
		f.Tell(func(err error) {
			e := audit.Event{What: "reload", Who: "file", Target: f.What(), Result: audit.Done}
			if err != nil {
				e.Result, e.Why = audit.Failed, err.Error()
			}
			n.audit.Did(e)
		})
	}
}

// auditMembers writes down who comes and goes, as gossip sees it, and whose lease the cluster
// takes back, until ctx ends.
func (n *Node) auditMembers(ctx context.Context) {
	known := make(map[string]string) // names, by identity
	for {
		select {
		case <-n.roster:
		case x := <-n.revoked:
			n.audit.Did(audit.Event{What: "member.revoked", Target: x.Name + " " + x.Identity, Result: audit.Done})
			continue
		case <-ctx.Done():
			return
		}
		now := make(map[string]string)
		for _, x := range n.cluster.Nodes()[1:] { // but for this one
			now[x.Identity] = x.Name
			if _, ok := known[x.Identity]; !ok {
				n.audit.Did(audit.Event{What: "member.up", From: x.ClusterAddr, Target: x.Name + " " + x.Identity, Result: audit.Done})
			}
		}
		for id, name := range known {
			if _, ok := now[id]; !ok {
				n.audit.Did(audit.Event{What: "member.gone", Target: name + " " + id, Result: audit.Done})
			}
		}
		known = now
	}
}

// maxRevoked bounds the revocations that wait to be written down: more than there are nodes.
const maxRevoked = 256

// noteRevoked returns what is to be told of each state of meta, one after the other: who has lost
// its lease is given to auditMembers (E4). What this node learns before it serves has happened
// long ago, perhaps.
func (n *Node) noteRevoked() func(*meta.State) {
	before := n.control.State()
	return func(now *meta.State) {
		if n.serving.Load() {
			for _, x := range revokedSince(before, now) {
				select {
				case n.revoked <- x:
				default: // the audit log has hung for a while
				}
			}
		}
		before = now
	}
}

// revokedSince are the nodes whose lease was revoked between two states: not that of who was
// never admitted, and had none, nor of who has given it up by himself.
func revokedSince(before, now *meta.State) (lost []meta.Node) {
	for _, number := range slices.Sorted(maps.Keys(now.Nodes)) {
		x, was := now.Nodes[number], before.Nodes[number]
		if x.Admitted && x.Revoked && !x.Released && (was.Generation != x.Generation || !was.Revoked) {
			lost = append(lost, x)
		}
	}
	return lost
}

func (n *Node) observeAudit(emit metrics.Emit) {
	c := n.audit.Counts()
	emit(metrics.AuditLines, float64(c.Written), "written")
	emit(metrics.AuditLines, float64(c.LeftOut), "left_out")
	emit(metrics.AuditLines, float64(c.Dropped), "dropped")
	emit(metrics.AuditLines, float64(c.Failed), "failed")
}
