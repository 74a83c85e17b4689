package raftstore

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// replica is the driver of a shard whose log is a Raft group's. Raft's goroutines
// do not touch the state: they have the shard's goroutine do so, in their order.
type replica struct {
	sh    *shard
	group Group
	rep   *Replication
	raft  *raft.Raft

	unread error // why Restore refused a snapshot; of who calls NewRaft, then of Raft

	calls   chan func()    // to the shard's goroutine
	gone    chan struct{}  // closed by stop, after raft ended
	running sync.WaitGroup // what else goes on until then
	stall   *time.Timer    // calls stalled, after something was proposed

	// Of the shard's goroutine.
	maker       uint64      // names this start of the node in the entries it makes
	ready       bool        // raft is set
	suspended   atomic.Bool // nothing is taken: see Restore
	suspendedIn uint64      // term in which this node led then
	first       *proposal   // the first entry of the term that this node was elected for, until it is applied
	oldest      uint64      // number of the proposal that stalled last saw first
	heard       bool        // another node led since this one started
	index       uint64      // of the latest entry applied
	recent      recent      // the digests of the latest entries
	grown       uint64      // bytes of entries, and what they cost, since the latest snapshot

	before, after func(l *raft.Log) // hooks of the tests, around commit; nil for none
}

// maxCalls is how many batches of committed entries may wait for the shard's
// goroutine before Raft does.
const maxCalls = 4

// maxFlight is how many entries of a group are under way at once, the second one
// only if it is full: what waits meanwhile makes the next one dense.
const maxFlight = 2

const defaultSnapshotBytes = 64 << 20

// entryCost is what an entry takes beside its data, in the log and in the memory that
// finds it there: of short ones this is most, and there may be a million.
const entryCost = 52

func newReplica(sh *shard, g Group, rep *Replication) *replica {
	if g.SnapshotBytes == 0 {
		g.SnapshotBytes = defaultSnapshotBytes
	}
	r := &replica{
		sh: sh, group: g, rep: rep, maker: uint64(rep.Node)<<32 ^ rep.Start,
		calls: make(chan func(), maxCalls), gone: make(chan struct{}),
	}
	r.stall = time.AfterFunc(time.Hour, func() { r.call(r.stalled) })
	return r
}

// start has Raft begin; after an error the shard is vacant again.
func (r *replica) start() error {
	c := RaftConfig(r.group.ID)
	if r.group.Tune != nil {
		r.group.Tune(c)
	}
	if !r.sh.occupy(r) {
		return ErrClosed
	}
	group, err := raft.NewRaft(c, (*fsm)(r), r.group.Log, r.group.Stable, r.group.Snapshots, r.group.Transport)
	if err != nil {
		r.end()
		return errors.Join(err, r.unread)
	}
	r.raft = group
	r.call(func() { r.ready = true })
	r.running.Go(r.follow)
	return nil
}

// stop ends Raft, and then the replica.
func (r *replica) stop() error {
	err := Shutdown(r.raft, r.group.Transport)
	r.end()
	return err
}

// Shutdown ends a group's Raft here and returns when it has ended. What it has under
// way to others fails at once: they may be about to end as well, and Raft would wait
// for their answers.
func Shutdown(r *raft.Raft, t raft.Transport) error {
	ended := r.Shutdown()
	if t, ok := t.(raft.WithClose); ok {
		_ = t.Close() // Raft does so again, and says what comes of it
	}
	return ended.Error()
}

// end leaves the shard vacant. Its goroutine serves Raft until then.
func (r *replica) end() {
	r.stall.Stop()
	r.call(r.sh.vacate)
	close(r.gone)
	r.running.Wait()
}

func (r *replica) events() <-chan func() { return r.calls }

// call has f run on the shard's goroutine and waits for it; not so once the
// replica has ended.
func (r *replica) call(f func()) {
	done := make(chan struct{})
	r.later(func() { f(); close(done) })
	select {
	case <-done:
	case <-r.gone: // and what is left in calls nobody takes
	}
}

// later is call without the wait.
func (r *replica) later(f func()) {
	select {
	case r.calls <- f:
	case <-r.gone:
	}
}

// follow learns of elections.
func (r *replica) follow() {
	changes := make(chan raft.Observation, 16)
	leaders := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.raft.RegisterObserver(leaders)
	defer r.raft.DeregisterObserver(leaders)
	if _, id := r.raft.LeaderWithID(); id != "" && id != r.group.ID {
		r.call(func() { r.heard = true })
	}
	for {
		select {
		case leads := <-r.raft.LeaderCh():
			r.call(func() { r.turn(leads) })
		case o := <-changes:
			if l := o.Data.(raft.LeaderObservation); l.LeaderID != "" && l.LeaderID != r.group.ID {
				r.call(func() { r.heard = true })
			}
			r.sh.store.lanes[r.sh.id].retry()
		case <-r.gone:
			return
		}
	}
}

// stallTimeout is when a proposal that came to nothing is given up. Raft drops
// some without a word, so while leadership is being transferred, and goes on to
// lead; and its futures hang when it is shut down.
const stallTimeout = 2 * time.Second

// stalled looks whether the oldest proposal is the one it was the last time.
func (r *replica) stalled() {
	switch flight := r.sh.flight; {
	case len(flight) == 0:
		r.oldest = 0
		return
	case flight[0].number == r.oldest:
		r.turn(r.raft.State() == raft.Leader)
	default:
		r.oldest = flight[0].number
	}
	r.stall.Reset(stallTimeout)
}

// turn takes that this node was elected, or that it leads no more. An election
// may hide that leadership was lost meanwhile.
func (r *replica) turn(leads bool) {
	sh := r.sh
	sh.leading.Store(false)
	sh.stopLeading()
	r.first = nil
	if !leads || r.suspended.Load() {
		return
	}
	sh.proposed = sh.st.now // what time it is, startLeading knows
	r.first = sh.newProposal()
	r.first.entry = appendEntryHead(nil, r.head(r.first))
	sh.flight = append(sh.flight, r.first)
	r.propose(r.first)
}

func (r *replica) room() bool { return len(r.sh.flight) < maxFlight }

func (r *replica) head(p *proposal) entryHead {
	r.sh.made++
	p.number = r.sh.made
	return entryHead{time: r.sh.proposed, wall: uint64(max(r.rep.Wall().Unix(), 0)), maker: r.maker, number: p.number}
}

// applyTimeout bounds how long Raft may have no room for an entry, which it has
// unless it stands still. It is no shorter: where the machine is busy a timer of a
// millisecond has fired before Raft looks for room, and half of these entries
// would be dropped.
const applyTimeout = time.Second

// propose gives the entry to Raft, which keeps it.
func (r *replica) propose(p *proposal) {
	r.raft.Apply(p.give(), applyTimeout) // what comes of it, commit learns
	if len(r.sh.flight) == 1 {
		r.oldest = 0
		r.stall.Reset(stallTimeout)
	}
}

// commit applies one committed entry. It is this node's own to answer if it is
// the next that was proposed in this term.
func (r *replica) commit(l *raft.Log) {
	sh := r.sh
	h, _ := openEntry(l.Data)
	var p *proposal
	if h.maker == r.maker && len(sh.flight) > 0 && sh.flight[0].number == h.number {
		p = sh.flight[0]
	}
	r.index = l.Index
	if p == nil || p != r.first {
		sh.applied(l.Data, p)
	} else {
		sh.flight = append(sh.flight[:0], sh.flight[1:]...)
		wall := sh.st.wall
		sh.applied(l.Data, nil)
		r.first = nil
		now := max(sh.now(), sh.st.now)
		if !r.heard { // all replicas were down, for all that this one knows
			now = max(now, sh.st.now+r.rep.outage(wall))
			r.heard = true
		}
		sh.startLeading(now, l.Index)
		sh.leading.Store(true)
		sh.guests.admit(r.rep.Guest != nil && r.alone())
		sh.store.lanes[sh.id].retry()
	}
	r.recent.note(l.Index, sh.st.digest)
	if p == nil && !sh.st.fx.leads {
		// Never ahead of the leader's clock: the entry was made before it came here.
		sh.base.Store(int64(sh.clock() - sh.st.now))
	}
	if r.grown += uint64(len(l.Data)) + entryCost; r.grown >= r.group.SnapshotBytes && r.ready {
		r.grown = 0
		r.running.Go(r.snapshot)
	}
}

// alone says that no other node has a replica of the group.
func (r *replica) alone() bool {
	latest := r.raft.GetConfiguration()
	return latest.Error() == nil && len(latest.Configuration().Servers) == 1
}

// snapshot has Raft take one and cut the log, when no other shard is at it. What
// goes wrong the snapshot store has told of, and the next one comes.
func (r *replica) snapshot() {
	select {
	case r.sh.store.snapshot <- struct{}{}:
		_ = r.raft.Snapshot().Error()
		<-r.sh.store.snapshot
	case <-r.gone:
	}
}

// fsm is a replica as Raft sees it.
type fsm replica

// ApplyBatch has entries applied on the shard's goroutine, and does not wait for
// that: nothing of Raft's looks at the state, but by calls that come behind.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	r := (*replica)(f)
	r.later(func() {
		for _, l := range logs {
			if l.Type != raft.LogCommand {
				continue
			}
			if r.before != nil {
				r.before(l)
			}
			r.commit(l)
			if r.after != nil {
				r.after(l)
			}
		}
	})
	return make([]any, len(logs))
}

// Apply is ApplyBatch for one entry.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot freezes the state.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	r := (*replica)(f)
	s := &frozenReplica{r: r, began: time.Now()}
	r.call(func() { s.view = r.sh.st.freeze() })
	if s.view == nil {
		return nil, raft.ErrRaftShutdown
	}
	return s, nil
}

// Restore replaces the state.
func (f *fsm) Restore(from io.ReadCloser) error {
	r := (*replica)(f)
	began := time.Now()
	st, err := r.sh.store.restore(r.sh.id, bufio.NewReaderSize(from, chunkBytes))
	if err != nil {
		r.unread = err
		return err
	}
	level := slog.LevelDebug // every shard does so when a node starts
	r.call(func() {
		if r.ready {
			level = slog.LevelInfo
		}
		r.sh.leading.Store(false)
		r.sh.stopLeading()
		r.sh.adopt(st)
		r.index = 0 // no entry is known to have made this state
		r.recent = recent{}
		r.sh.base.Store(int64(r.sh.clock() - st.now))
	})
	r.sh.log.Log(context.Background(), level, "snapshot restored", "shard", r.sh.id, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// frozenReplica is a snapshot on its way to a sink.
type frozenReplica struct {
	r     *replica
	view  *frozen
	began time.Time
}

// Persist streams the view: a chunk at a time is made on the shard's goroutine,
// and written here, while Apply goes on between them.
func (s *frozenReplica) Persist(sink raft.SnapshotSink) error {
	bytes := 0
	for more := true; more; {
		gathered := false
		s.r.call(func() { s.view.gather(); gathered = true })
		if !gathered {
			_ = sink.Cancel()
			return raft.ErrRaftShutdown
		}
		var chunk []byte
		var err error
		if chunk, more, err = s.view.write(); err != nil {
			_ = sink.Cancel()
			return s.r.sh.unread(err)
		}
		if _, err := sink.Write(chunk); err != nil {
			_ = sink.Cancel()
			return err
		}
		bytes += len(chunk)
	}
	if err := sink.Close(); err != nil {
		return err
	}
	s.r.sh.log.Info("snapshot taken", "shard", s.r.sh.id, "bytes", bytes, "took", time.Since(s.began).Round(time.Millisecond))
	return nil
}

// Release lets the view go.
func (s *frozenReplica) Release() { s.r.call(func() { s.view.release() }) }

var _ raft.BatchingFSM = (*fsm)(nil)
