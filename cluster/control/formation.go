package control

import (
	"fmt"
	"maps"
	"slices"

	"dunlin/raftstore/placement"
)

// stage is how far a node has come on its way into a cluster.
type stage uint8

const (
	undecided  stage = iota // may promise itself, or begin a formation
	collecting              // coordinates a formation that may still be cancelled
	promised                // to a formation that another node coordinates
	member                  // of a cluster, for as long as it has its data
)

// standing is what a node stands for. It is on disk before anybody is told.
//
// Invariants:
//
//  1. a node that collects coordinates, one that promised does not;
//  2. only the coordinator of a formation ends it before it is decided, and only
//     its word frees who promised: a promise counts until then;
//  3. a member stays one, of the same cluster; all members say the same of how
//     meta began.
type standing struct {
	Stage       stage    `json:"stage"`
	Formation   string   `json:"formation"`   // random; the cluster's identity from then on
	Coordinator string   `json:"coordinator"` // identity
	Initial     []string `json:"initial"`     // a member's: the nodes of meta's first configuration,
	Voters      int      `json:"voters"`      // of which so many vote, the first ones
}

func (s standing) equal(o standing) bool {
	return s.Stage == o.Stage && s.Formation == o.Formation && s.Coordinator == o.Coordinator &&
		slices.Equal(s.Initial, o.Initial) && s.Voters == o.Voters
}

// serves says that s is the standing of a member of cluster id.
func (s standing) serves(id string) bool { return s.Stage == member && s.Formation == id }

// answer is what a node says when it is asked what it stands for.
type answer struct {
	standing
	Name   string `json:"name"`
	Expect int    `json:"expect"` // bootstrap-expect
	Leader string `json:"leader"` // of meta, as far as it knows
}

// former is a node on its way into a cluster, as far as that concerns others.
type former struct {
	self   string
	expect int // nodes that are to form a cluster; 0 to join one only
	factor int // replicas wanted of each group
	newID  func() string
}

// move is what an undecided node does next. Unless is differs from what the node
// stands for, and nobody is to be asked, it waits for what missing names.
type move struct {
	is      standing // to stand for this from now on
	ask     []string // whose promises to ask for
	missing string
}

// next decides from what this node stood for when it began to ask, and what each
// node that answered said after.
func (f *former) next(s standing, seen map[string]answer) move {
	if s.Stage == member {
		return move{is: s}
	}
	clusters := map[string]standing{}
	for _, a := range seen {
		if a.Stage == member {
			clusters[a.Formation] = a.standing
		}
	}
	switch s.Stage {
	case promised:
		return f.keep(s, seen, clusters)
	case collecting:
		return f.collect(s, seen, clusters)
	}
	return f.begin(s, seen, clusters)
}

// keep is for one that promised.
func (f *former) keep(s standing, seen map[string]answer, clusters map[string]standing) move {
	if c, ok := clusters[s.Formation]; ok {
		return move{is: c} // it was decided
	}
	switch c, ok := seen[s.Coordinator]; {
	case !ok:
		return move{is: s, missing: fmt.Sprintf("node %s, which this one has promised to form a cluster with: start it, "+
			"or if its data are lost empty this node's data directory too", s.Coordinator)}
	case c.Formation != s.Formation:
		return move{} // it was cancelled: its coordinator began it before asking anyone
	}
	return move{is: s, missing: fmt.Sprintf("the other nodes that node %s forms a cluster of", s.Coordinator)}
}

// collect is for a coordinator.
func (f *former) collect(s standing, seen map[string]answer, clusters map[string]standing) move {
	if len(clusters) > 0 || f.expect == 0 {
		return move{}
	}
	have := []string{f.self}
	var free []string
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		switch a := seen[id]; {
		case a.Stage == collecting && id < f.self:
			return move{} // of two that would form a cluster, one must give way
		case a.Stage == promised && a.Formation == s.Formation:
			have = append(have, id)
		case a.Stage == undecided && a.Expect > 0:
			free = append(free, id)
		}
	}
	if len(have) < f.expect {
		m := move{is: s, ask: free[:min(len(free), f.expect-len(have))]}
		m.missing = fmt.Sprintf("%d more of %d nodes", f.expect-len(have), f.expect)
		return m
	}
	have = have[:f.expect]
	slices.Sort(have)
	return move{is: standing{
		Stage: member, Formation: s.Formation, Coordinator: f.self,
		Initial: have, Voters: placement.Voters(f.factor, f.expect),
	}}
}

// begin is for one that nothing binds.
func (f *former) begin(s standing, seen map[string]answer, clusters map[string]standing) move {
	ids := slices.Sorted(maps.Keys(clusters))
	if len(ids) == 1 {
		return move{is: clusters[ids[0]]}
	}
	if len(ids) > 1 {
		return move{is: s, missing: fmt.Sprintf("one cluster: those that can be reached belong to several, %v", ids)}
	}
	if f.expect == 0 {
		return move{is: s, missing: "a cluster to join: no node that can be reached belongs to one"}
	}
	var formers []string
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		if a := seen[id]; a.Expect > 0 && a.Stage != promised {
			formers = append(formers, id)
		}
	}
	switch {
	case len(formers)+1 < f.expect:
		return move{is: s, missing: fmt.Sprintf("%d more of %d nodes", f.expect-len(formers)-1, f.expect)}
	case f.expect > 1 && formers[0] < f.self:
		return move{is: s, missing: fmt.Sprintf("node %s (%q), which is to begin", formers[0], seen[formers[0]].Name)}
	}
	return move{is: standing{Stage: collecting, Formation: f.newID(), Coordinator: f.self}}
}

// promise is what a node stands for after another one has asked for its promise.
func (f *former) promise(s standing, to, formation string) standing {
	if s.Stage == undecided && f.expect > 0 {
		return standing{Stage: promised, Formation: formation, Coordinator: to}
	}
	return s
}
