package control

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
)

// report is what a node says of itself and of its replicas when it is asked. A release that says
// nothing of levels leaves all but the groups zero.
type report struct {
	Start   uint64     `json:"start,omitempty"`
	Release string     `json:"release,omitempty"`
	Levels  level.Span `json:"levels,omitzero"`

	// Clients are connected to it. One that leaves the cluster is waited for until they are gone.
	Clients int `json:"clients,omitempty"`

	Groups map[uint16]groupReport `json:"groups"`
}

// groupReport is of one replica, in Raft's terms.
type groupReport struct {
	Term    uint64 `json:"term"`
	Commit  uint64 `json:"commit"`
	Applied uint64 `json:"applied"`
	Last    uint64 `json:"last"`

	// Leads says that this replica leads in Term and has committed something in it.
	// Then there is the configuration that it knows to be committed, and its index.
	Leads   bool     `json:"leads"`
	Index   uint64   `json:"index"`
	Servers []server `json:"servers"`
}

// server is a member of a group by its configuration.
type server struct {
	Node  string `json:"node"` // identity
	Voter bool   `json:"voter"`
}

func (g groupReport) server(node string) (s server, ok bool) {
	for _, s := range g.Servers {
		if s.Node == node {
			return s, true
		}
	}
	return server{}, false
}

// report is this node's.
func (c *Control) report() report {
	c.mu.Lock()
	replicas := make(map[uint16]*replica, len(c.mu.groups))
	for id, rep := range c.mu.groups {
		replicas[id] = rep
	}
	c.mu.Unlock()
	r := report{
		Start: c.data.Starts(), Release: c.opts.Release, Levels: c.opts.Levels,
		Clients: c.opts.Clients(), Groups: make(map[uint16]groupReport, len(replicas)),
	}
	for id, rep := range replicas {
		r.Groups[id] = rep.report()
	}
	return r
}

func (rep *replica) report() groupReport {
	r := rep.raft
	g := groupReport{Term: r.CurrentTerm(), Commit: r.CommitIndex(), Applied: r.AppliedIndex(), Last: r.LastIndex()}
	if r.State() != raft.Leader {
		return g
	}
	// A leader that has committed nothing yet may not know all that is committed.
	var l raft.Log
	if err := rep.configurations.log.GetLog(g.Commit, &l); err != nil || l.Term != g.Term {
		return g
	}
	conf, index, err := rep.configurations.at(g.Commit)
	if err != nil || r.CurrentTerm() != g.Term || r.State() != raft.Leader {
		return g
	}
	g.Leads, g.Index = true, index
	for _, s := range conf.Servers {
		g.Servers = append(g.Servers, server{Node: string(s.ID), Voter: s.Suffrage == raft.Voter})
	}
	return g
}

// reports asks nodes for theirs, all at a time. Who does not answer is left out.
func (c *Control) reports(ctx context.Context, nodes []string) map[string]report {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	all := make(map[string]report, len(nodes))
	for _, id := range nodes {
		wg.Go(func() {
			var r report
			if err := c.ask(ctx, id, kindReport, nil, &r); err == nil {
				mu.Lock()
				all[id] = r
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}
