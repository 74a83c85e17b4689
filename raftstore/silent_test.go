package raftstore

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/router"
)

// silenced is a world whose first leader takes what it is asked and says nothing,
// as a host does that fell silent.
type silenced struct {
	elsewhere
	leader atomic.Uint32
	took   atomic.Int32
}

func (s *silenced) Leader(router.ShardID) (Node, bool) { return Node(s.leader.Load()), true }

func (s *silenced) Ask(at Node, sh router.ShardID, b []byte, reply func([]byte, error)) {
	switch {
	case at == 2:
		s.took.Add(1)
	case b[1] == frameRead:
		go reply(appendPage(nil, &RetainedPage{}), nil)
	default:
		s.elsewhere.Ask(at, sh, b, reply)
	}
}

// What a leader was asked that has fallen silent, without a word and on a stream
// that does not break, is asked of the next one as soon as there is one.
func TestSilentLeaderIsNotWaitedFor(t *testing.T) {
	for name, tell := range map[string]bool{"told": true, "found": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &silenced{elsewhere: elsewhere{began: time.Now()}}
				e.leader.Store(2)
				s := led(t, 1, e)
				var answered atomic.Int32
				done := func(r Result) {
					expect(t, "result", r.Err, nil)
					answered.Add(1)
				}
				s.Submit(0, Receive{ClientID: "d", Epoch: 1, PacketID: 1}, done)
				s.Submit(0, Receive{ClientID: "d", Epoch: 1, PacketID: 2}, done)
				s.Submit(0, Claim{ClientID: "c", Conn: 2}, done)
				s.ReadRetained(0, RetainedQuery{Filter: filter("#")}, func(_ RetainedPage, err error) {
					expect(t, "page", err, nil)
					answered.Add(1)
				})
				time.Sleep(2 * time.Second)
				synctest.Wait()
				expect(t, "asked of who is silent", e.took.Load(), 4)
				expect(t, "answered by nobody", answered.Load(), 0)

				e.leader.Store(3)
				if tell {
					s.Moved(0)
				} else {
					time.Sleep(laneLook)
				}
				synctest.Wait()
				expect(t, "answered by the next", answered.Load(), 4)
			})
		})
	}
}

// leaderless is a world in which nobody leads anything.
type leaderless struct{ elsewhere }

func (*leaderless) Leader(router.ShardID) (Node, bool) { return 0, false }

// R6: what gathers behind others in a shard that nobody leads becomes unknown as they
// do, though nothing more comes.
func TestUnknownOutcomeWithoutALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := led(t, 1, &leaderless{elsewhere: elsewhere{began: time.Now()}})
		answers := make(chan Result, 3)
		for i := range cap(answers) {
			s.Submit(0, Receive{ClientID: "d", Epoch: 1, PacketID: uint16(i) + 1}, func(r Result) { answers <- r })
		}
		time.Sleep(outcomeTimeout + 3*time.Second)
		synctest.Wait()
		expect(t, "answers", len(answers), cap(answers))
		for range cap(answers) {
			expect(t, "result", (<-answers).Err, ErrUnknown)
		}
	})
}

// A lane may be closed by whom it is just answering, with more of it under way.
func TestLaneClosedWhileItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &elsewhere{began: time.Now()}
		s := led(t, 1, e)
		var closed atomic.Int32
		s.Submit(0, Receive{ClientID: "d", Epoch: 1, PacketID: 1}, func(Result) { s.lanes[0].close() })
		s.Submit(0, Receive{ClientID: "d", Epoch: 1, PacketID: 2}, func(r Result) {
			expect(t, "result", r.Err, ErrClosed)
			closed.Add(1)
		})
		synctest.Wait()
		expect(t, "answered", closed.Load(), 1)
	})
}
