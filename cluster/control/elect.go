package control

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
)

// What electing early may take, and how often it looks.
const (
	electWithin = 2 * time.Second
	electPause  = 20 * time.Millisecond
)

// candidacy says whether this node is to stand for a group now.
type candidacy func(c *Control, ctx context.Context, group uint16, r *raft.Raft) bool

// founded is for a new group: the one that was chosen of its first voters stands
// when most of them have begun.
func founded(first []string, chosen bool) candidacy {
	return func(c *Control, ctx context.Context, group uint16, _ *raft.Raft) bool {
		return chosen && c.begun(ctx, group, first) > len(first)/2
	}
}

// restarted is for a group whose voters may all have been started again: the one
// with most of its log stands.
func restarted(c *Control, ctx context.Context, group uint16, r *raft.Raft) bool {
	return mostOf(group, c.orphans(ctx, group, votersOf(r))) == c.data.Identity()
}

// electEarly saves an election timeout where it is plain who is to lead: the only
// voter of a group always, others as candidacy says.
func (c *Control) electEarly(group uint16, r *raft.Raft, t *raftnet.Transport, stands candidacy) {
	if c.onlyVoter(r) {
		t.Stand()
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, electWithin)
	defer cancel()
	for pause(ctx, electPause) == nil {
		if _, leader := r.LeaderWithID(); leader != "" || r.State() != raft.Follower {
			return
		}
		if stands(c, ctx, group, r) {
			t.Stand()
			return
		}
	}
}

// orphan is a voter of a group that follows nobody and has not stood.
type orphan struct {
	node       string
	term, last uint64 // of its log's end
}

// orphans are all voters of a group, nil if one does not answer, knows a leader or
// stands. So it is for groups that nobody leads and that nobody will be heard to
// lead: no leader of theirs can be deposed, wherever it is, for each of them would
// have heard of it.
func (c *Control) orphans(ctx context.Context, group uint16, voters []string) (all []orphan) {
	ctx, cancel := context.WithTimeout(ctx, 10*electPause)
	defer cancel()
	answers := make(chan groupAnswer, len(voters))
	for _, id := range voters {
		go func() {
			a, _ := c.askGroup(ctx, id, group) // nothing is no
			a.node = id
			answers <- a
		}()
	}
	for range voters {
		if a := <-answers; a.Orphan {
			all = append(all, orphan{a.node, a.LastTerm, a.LastIndex})
		}
	}
	if len(all) < len(voters) {
		return nil
	}
	return all
}

// mostOf is who has most of a group's log, and of several one that depends on the
// group: then the groups spread, and all that look choose alike.
func mostOf(group uint16, all []orphan) string {
	if len(all) == 0 {
		return ""
	}
	slices.SortFunc(all, func(a, b orphan) int {
		return cmp.Or(cmp.Compare(b.term, a.term), cmp.Compare(b.last, a.last), cmp.Compare(a.node, b.node))
	})
	best := 1
	for best < len(all) && all[best].term == all[0].term && all[best].last == all[0].last {
		best++
	}
	return all[int(group)%best].node
}

// begun counts the nodes that run a replica of a group.
func (c *Control) begun(ctx context.Context, group uint16, nodes []string) (n int) {
	ctx, cancel := context.WithTimeout(ctx, 10*electPause)
	defer cancel()
	answers := make(chan groupAnswer, len(nodes))
	for _, id := range nodes {
		go func() {
			a, _ := c.askGroup(ctx, id, group) // nothing is no
			answers <- a
		}()
	}
	for range nodes {
		if (<-answers).Running {
			n++
		}
	}
	return n
}

// onlyVoter says that this node is the one voter of r's group.
func (c *Control) onlyVoter(r *raft.Raft) bool {
	ids := votersOf(r)
	return len(ids) == 1 && ids[0] == c.data.Identity()
}
