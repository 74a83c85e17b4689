package raftstore

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/router"
	"dunlin/session"
)

// elsewhere leads every shard, and notes the commands that it is asked.
type elsewhere struct {
	began time.Time

	mu struct {
		sync.Mutex
		asked [][]kind
		at    []time.Duration
	}
}

// heard is what it was asked since, and when.
func (e *elsewhere) heard() (asked [][]kind, at []time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked, at = e.mu.asked, e.mu.at
	e.mu.asked, e.mu.at = nil, nil
	return asked, at
}

func (e *elsewhere) Leader(router.ShardID) (Node, bool) { return 2, true }

func (e *elsewhere) Ask(_ Node, _ router.ShardID, b []byte, reply func([]byte, error)) {
	r := reader{b: b}
	_, f := r.frame()
	var kinds []kind
	var results []Result
	for r := (reader{b: f.commands}); len(r.b) > 0; {
		k, _ := r.command()
		kinds, results = append(kinds, k), append(results, Result{})
	}
	e.mu.Lock()
	e.mu.asked, e.mu.at = append(e.mu.asked, kinds), append(e.mu.at, time.Since(e.began))
	e.mu.Unlock()
	go reply(appendAnswer(nil, results, true), nil)
}

// led opens a store that keeps no shard itself: all of them are led elsewhere, by who
// answers for leaders.
func led(t *testing.T, shards int, leaders Leaders) *Store {
	t.Helper()
	began := time.Now()
	o := DefaultOptions()
	o.Shards, o.Clock = shards, func() session.Time { return session.Time(time.Since(began)) + 1 }
	s, err := OpenReplicated(o, Replication{
		Node: 1, Start: 1, Generation: func() uint64 { return 1 }, Leaders: leaders, Wall: time.Now,
		Owners: struct{ Owners }{}, World: struct{ Messenger }{}, Routes: struct{ Routes }{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// What nobody waits for goes with the next command of its shard, in its order,
// and a little later if none comes.
func TestLateCommandsWaitForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &elsewhere{began: time.Now()}
		s := led(t, 2, e)
		var answered atomic.Int32
		do := func(sh router.ShardID, cmd Command) {
			s.Submit(sh, cmd, func(r Result) {
				expect(t, "result", r.Err, nil)
				answered.Add(1)
			})
		}
		acks := Acks{Items: []Ack{{ClientID: "c", Epoch: 1, Index: 1}}, Late: true}
		detach := Detach{ClientID: "c", Epoch: 1, Late: true}
		next := func(what string, within time.Duration, want ...[]kind) []time.Duration {
			t.Helper()
			time.Sleep(within)
			synctest.Wait()
			asked, at := e.heard()
			if !slices.EqualFunc(asked, want, slices.Equal) {
				t.Fatalf("%s: asked %v, not %v", what, asked, want)
			}
			return at
		}

		do(0, acks)
		do(0, acks)
		next("too early", laneLate-time.Millisecond)
		next("alone", laneLate, []kind{kindAcks, kindAcks})
		do(0, acks)
		do(0, detach)
		do(0, Receive{ClientID: "d", Epoch: 1, PacketID: 1})
		next("in company", 0, []kind{kindAcks, kindDetach, kindReceive})
		do(0, detach)
		do(0, Claim{ClientID: "c", Conn: 2})
		next("a claim goes behind", 0, []kind{kindDetach}, []kind{kindClaim})
		time.Sleep(laneLate / 4)
		do(0, acks)
		time.Sleep(laneLate / 4)
		do(1, acks)
		at := next("two shards", 2*laneLate, []kind{kindAcks}, []kind{kindAcks})
		expect(t, "of one wake-up", at[0], at[1])
		for range maxEntryCommands {
			do(0, acks)
		}
		next("a full frame", 0, slices.Repeat([]kind{kindAcks}, maxEntryCommands))
		do(0, Acks{Items: acks.Items})
		next("somebody waits", 0, []kind{kindAcks})
		expect(t, "answered", answered.Load(), 10+maxEntryCommands)
	})
}

// unreachable is thought to lead every shard, but cannot be reached.
type unreachable struct{ asked atomic.Int32 }

func (n *unreachable) Leader(router.ShardID) (Node, bool) { return 2, true }

func (n *unreachable) Ask(_ Node, _ router.ShardID, _ []byte, reply func([]byte, error)) {
	if n.asked.Add(1) > 10_000 {
		panic("asked without a pause")
	}
	go reply(nil, errors.New("not reached"))
}

// What is overdue and cannot go, for what is before it has not gone, is no cause to ask
// again and again: a node that has lost its quorum, and then its clients, would be busy
// with that alone, and not end when it is to.
func TestLateCommandsThatCannotGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(unreachable)
		s := led(t, 1, n)
		for range maxFrames*maxEntryCommands + 1 {
			s.Submit(0, Detach{ClientID: "c", Epoch: 1, Late: true}, nil)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if asked, most := int(n.asked.Load()), maxFrames*int(2*time.Second/laneRetry); asked == 0 || asked > most {
			t.Errorf("asked %d times in a second, not 1 to %d", asked, most)
		}
	})
}
