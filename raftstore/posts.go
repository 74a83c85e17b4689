package raftstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"dunlin/router"

	"github.com/hashicorp/raft"
)

// post is where a shard's replica stands on this node, if there is one.
type post struct {
	replica atomic.Pointer[replica]

	mu struct { // held while a replica starts or ends
		sync.Mutex
		closed bool
	}
}

// StartReplica has this node take part in the Raft group of sh, which it does
// not yet. The group was bootstrapped in g's stores, or they are empty and its
// leader adds this node. It returns when Raft runs, what g's stores hold of the
// state restored, and gives it as Raft would; the stores and the transport stay the
// caller's, who closes them after StopReplica or Close.
func (s *Store) StartReplica(sh router.ShardID, g Group) (*raft.Raft, error) {
	if g.Log == nil || g.Stable == nil || g.Snapshots == nil || g.Transport == nil {
		return nil, fmt.Errorf("raftstore: start replica of shard %d: the group is incomplete", sh)
	}
	p := &s.posts[sh]
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mu.closed:
		return nil, ErrClosed
	case p.replica.Load() != nil:
		return nil, fmt.Errorf("raftstore: start replica of shard %d: it runs", sh)
	}
	r := newReplica(s.shards[sh], g, s.rep)
	s.prepare(r)
	if err := r.start(); err != nil {
		return nil, fmt.Errorf("raftstore: start replica of shard %d: %w", sh, err)
	}
	p.replica.Store(r)
	return r.raft, nil
}

// StopReplica ends this node's replica of sh, if it has one, and returns when
// Raft has ended and the memory of the state is given up. What this node has for
// the shard goes to whoever leads it elsewhere. A leader is to hand over first.
func (s *Store) StopReplica(sh router.ShardID) error {
	p := &s.posts[sh]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopLocked()
}

func (p *post) stopLocked() error {
	if r := p.replica.Swap(nil); r != nil {
		return r.stop()
	}
	return nil
}

// close ends the replica and has no other begin.
func (p *post) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.closed = true
	_ = p.stopLocked() // what a transport says to its end, Raft has logged
}

// Raft is the group of shard sh, for configuration changes and transfers of
// leadership; nil if this node has no replica of it.
func (s *Store) Raft(sh router.ShardID) *raft.Raft {
	if int(sh) < len(s.posts) {
		if r := s.posts[sh].replica.Load(); r != nil {
			return r.raft
		}
	}
	return nil
}

// Leader is who leads sh, as far as this node's replica knows; ok is false if it
// knows of none, or there is no replica.
func (s *Store) Leader(sh router.ShardID) (id raft.ServerID, ok bool) {
	if r := s.Raft(sh); r != nil {
		_, id = r.LeaderWithID()
	}
	return id, id != ""
}

// Leads says whether this node leads sh and serves it: it has applied all that
// leaders before it may have answered. Another may have been elected meanwhile.
func (s *Store) Leads(sh router.ShardID) bool { return s.shards[sh].leading.Load() }

// Term is the term of sh's group as this node's replica knows it; 0 without one.
func (s *Store) Term(sh router.ShardID) uint64 {
	if r := s.Raft(sh); r != nil {
		return r.CurrentTerm()
	}
	return 0
}

// Digest is a running hash of what a replica did up to its latest entry, by that
// entry's index in the log: equal on all replicas at equal index (D6). Both are 0
// without a replica, the index until an entry is applied to a snapshot.
func (s *Store) Digest(sh router.ShardID) (index, digest uint64) {
	read := make(chan Moment, 1)
	shard := s.shards[sh]
	if !shard.call(func() { read <- shard.moment() }) {
		return 0, 0
	}
	m := <-read
	return m.Entry, m.Digest
}

// vacant is the driver of a shard of which this node has no replica.
type vacant struct{}

func (vacant) room() bool               { return false }
func (vacant) events() <-chan func()    { return nil }
func (vacant) head(*proposal) entryHead { panic(errNoReplica) }
func (vacant) propose(*proposal)        { panic(errNoReplica) }

var errNoReplica = errors.New("raftstore: nobody is to propose without a replica")

// occupy makes r the shard's driver; false says that the shard has ended.
func (sh *shard) occupy(r *replica) bool {
	done := make(chan struct{})
	if !sh.call(func() {
		sh.driver = r
		sh.base.Store(int64(sh.clock() - sh.st.now))
		close(done)
	}) {
		return false
	}
	<-done
	return true
}

// vacate empties the shard, whose replica is gone.
func (sh *shard) vacate() {
	sh.leading.Store(false)
	sh.stopLeading()
	sh.driver = vacant{}
	sh.adopt(newState(sh.id))
	sh.metrics.size(sh)
}
