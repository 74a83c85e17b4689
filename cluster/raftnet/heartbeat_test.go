package raftnet

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// slowDisk has Raft wait to write entries, or its term.
type slowDisk struct {
	*raft.InmemStore
	entries, term turn
}

// turn is taken by a write, and by who has it wait.
type turn chan struct{}

func (t turn) hold()    { t <- struct{}{} }
func (t turn) release() { <-t }

func (d *slowDisk) StoreLogs(ls []*raft.Log) error {
	d.entries.hold()
	defer d.entries.release()
	return d.InmemStore.StoreLogs(ls)
}

func (d *slowDisk) SetUint64(k []byte, v uint64) error {
	d.term.hold()
	defer d.term.release()
	return d.InmemStore.SetUint64(k, v)
}

type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}

// follower is a Raft at b, one of the voters a, b and c, and the transport of a that
// speaks for its leader.
type follower struct {
	*raft.Raft
	disk *slowDisk
	at   *Transport
	from *Transport
}

const beatGroup = 7

func newFollower(t *testing.T) *follower {
	t.Helper()
	a, b := twoNets(t)
	f := &follower{disk: &slowDisk{InmemStore: raft.NewInmemStore(), entries: make(turn, 1), term: make(turn, 1)}}
	var err error
	if f.from, err = a.Transport(beatGroup); err == nil {
		f.at, err = b.Transport(beatGroup)
	}
	if err != nil {
		t.Fatal(err)
	}
	conf := raft.DefaultConfig()
	conf.LocalID, conf.PreVoteDisabled, conf.Logger = "b", true, hclog.NewNullLogger()
	snaps := raft.NewInmemSnapshotStore()
	if err := raft.BootstrapCluster(conf, f.disk, f.disk, snaps, f.at, raft.Configuration{Servers: []raft.Server{
		{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"},
	}}); err != nil {
		t.Fatal(err)
	}
	if f.Raft, err = raft.NewRaft(conf, nothing{}, f.disk, f.disk, snaps, f.at); err != nil {
		t.Fatal(err)
	}
	f.at.Watch(f.Raft)
	cut, _ := join(t, a, b)
	t.Cleanup(func() {
		if err := f.Shutdown().Error(); err != nil {
			t.Error(err)
		}
		cut()
	})
	return f
}

// hears sends the node a heartbeat, or entries, and gives the reply when it comes.
func (f *follower) hears(args *raft.AppendEntriesRequest) (reply chan raft.AppendEntriesResponse) {
	args.RPCHeader.ProtocolVersion = raft.ProtocolVersionMax
	reply = make(chan raft.AppendEntriesResponse, 1)
	go func() {
		var r raft.AppendEntriesResponse
		if f.from.AppendEntries("b", "b", args, &r) == nil {
			reply <- r
		}
		close(reply)
	}()
	time.Sleep(2 * DefaultOptions().BeatInterval) // virtual; heartbeats are lazy
	synctest.Wait()
	return reply
}

func (f *follower) beat(term uint64) chan raft.AppendEntriesResponse {
	return f.hears(&raft.AppendEntriesRequest{Term: term})
}

// answered takes a reply that must have come.
func answered(t *testing.T, reply chan raft.AppendEntriesResponse, term uint64, success bool) {
	t.Helper()
	select {
	case r, ok := <-reply:
		if !ok || r.Term != term || r.Success != success {
			t.Errorf("answered %v in term %d (%v), want %v in term %d", r.Success, r.Term, ok, success, term)
		}
	default:
		t.Error("not answered")
	}
}

// While Raft waits for its disk the heartbeats of its leader are answered; a new
// term's wait for Raft, which changes its term between two writes and not in one.
func TestHeartbeatsOfANewTermWaitForRaft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t)
		answered(t, f.beat(2), 2, true) // Raft's own answer: the term is new

		f.disk.entries.hold()
		entry := f.hears(&raft.AppendEntriesRequest{
			Term: 2, PrevLogEntry: 1, PrevLogTerm: 1,
			Entries: []*raft.Log{{Index: 2, Term: 2, Type: raft.LogNoop}},
		})
		for range 10 {
			answered(t, f.beat(2), 2, true)
		}
		if n := len(f.at.consumer); n != 1 {
			t.Errorf("%d heartbeats wait for Raft, want 1", n)
		}
		late := f.beat(3)
		if term := f.CurrentTerm(); term != 2 || len(late) > 0 {
			t.Errorf("a heartbeat was carried out while Raft writes: term %d, answered %v", term, len(late) > 0)
		}
		f.disk.entries.release()
		synctest.Wait()
		answered(t, entry, 2, true)
		answered(t, late, 3, true)
		if _, leader := f.LeaderWithID(); leader != "a" || f.CurrentTerm() != 3 {
			t.Errorf("follows %q in term %d", leader, f.CurrentTerm())
		}
	})
}

// A heartbeat of the term that a node is leaving to stand for election does not
// bring it back, nor end its candidacy.
func TestHeartbeatsOfACandidateWaitForRaft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t)
		answered(t, f.beat(2), 2, true)
		f.disk.term.hold()
		for f.State() == raft.Follower { // until it hears nothing for too long
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		late := f.beat(2)
		if f.State() != raft.Candidate || f.CurrentTerm() != 2 || len(late) > 0 {
			t.Errorf("%v in term %d, answered %v; want a candidate that writes its term", f.State(), f.CurrentTerm(), len(late) > 0)
		}
		f.disk.term.release()
		synctest.Wait()
		answered(t, late, 3, false)
		if f.CurrentTerm() != 3 {
			t.Errorf("in term %d, want 3", f.CurrentTerm())
		}
	})
}

// A follower that is idle knows from heartbeats alone that its leader is there.
func TestHeartbeatsKeepAFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t)
		for range 100 {
			answered(t, f.beat(2), 2, true)
		}
		if f.State() != raft.Follower || f.CurrentTerm() != 2 {
			t.Errorf("%v in term %d", f.State(), f.CurrentTerm())
		}
	})
}
