package raftnet

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// counted is a stream that takes what is written and says when.
type counted struct {
	Stream
	sent chan time.Time
}

func (s counted) Send(urgent, bulk []byte) error {
	s.sent <- time.Now()
	return nil
}

// A peer hears of a node every IdleInterval, and every BeatInterval while the node
// leads a group in which the peer votes. What is put off waits for one BeatInterval
// at most, whoever the peer is.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New("a", DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		n.used.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		c := n.Connect("b", nil)
		c.queue.begin()
		s := counted{sent: make(chan time.Time, 1000)}
		done := make(chan error)
		go func() { done <- c.queue.write(ctx, s, c.pulse()) }()
		written := func(d time.Duration) int {
			for len(s.sent) > 0 {
				<-s.sent
			}
			time.Sleep(d)
			synctest.Wait()
			return len(s.sent)
		}
		o := DefaultOptions()
		if got := written(10 * o.IdleInterval); got < 10 || got > 11 {
			t.Errorf("%d beats in ten idle intervals", got)
		}
		put := func() {
			if err := c.queue.lock(); err != nil {
				t.Fatal(err)
			}
			c.queue.mu.urgent = append(c.queue.mu.urgent, "later"...)
			c.queue.unlock(true)
		}
		time.Sleep(o.IdleInterval/2 + time.Millisecond)
		for range 3 {
			put()
			if got := written(o.BeatInterval); got != 1 {
				t.Errorf("%d writes within a beat of what was put off", got)
			}
		}
		if got := written(10 * o.IdleInterval); got < 10 || got > 11 {
			t.Errorf("%d beats in ten idle intervals afterwards", got)
		}
		g, err := n.Transport(7)
		if err != nil {
			t.Fatal(err)
		}
		g.leads(raft.ServerID("b"))
		put() // Raft's heartbeat
		written(o.BeatInterval)
		if got := written(10 * o.BeatInterval); got != 10 {
			t.Errorf("%d beats in ten intervals to who votes", got)
		}
		time.Sleep(watchedFor)
		if got := written(10 * o.IdleInterval); got > 11 {
			t.Errorf("%d beats in ten idle intervals once it does not lead", got)
		}
		cancel()
		<-done
	})
}
