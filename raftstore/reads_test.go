package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// register is what a topic's retained message may be, by what was acknowledged
// and seen before: one writer puts rising numbers there.
type register struct {
	sync.Mutex
	invoked int // the latest number sent
	floor   int // the latest acknowledged, or read
	reads   int
	wrong   error
}

// read checks one read, from what floor was when it was asked for.
func (g *register) read(floor, value int) {
	g.Lock()
	defer g.Unlock()
	if g.reads++; (value < floor || value > g.invoked) && g.wrong == nil {
		g.wrong = fmt.Errorf("read %d after %d was acknowledged or read, while %d was the latest sent", value, floor, g.invoked)
	}
	g.floor = max(g.floor, value)
}

func (g *register) now() int {
	g.Lock()
	defer g.Unlock()
	return g.floor
}

// watchRegister writes and reads a topic from all nodes while leaders come and go.
func watchRegister(t *testing.T, query RetainedQuery) (g *register) {
	g = &register{}
	inTrio(t, func(c *trio) {
		var running sync.WaitGroup
		stop := make(chan struct{})
		stopped := func() bool {
			select {
			case <-stop:
				return true
			default:
				return false
			}
		}
		running.Go(func() {
			for n := 1; !stopped(); n++ {
				time.Sleep(10 * time.Millisecond)
				s := c.nodes[n%3].store.Load()
				if s == nil {
					continue
				}
				g.Lock()
				g.invoked = n
				g.Unlock()
				acked := make(chan error, 1)
				s.Submit(0, Retain{Message: publish("a", strconv.Itoa(n), 1)}, func(r Result) { acked <- r.Err })
				if <-acked == nil {
					g.Lock()
					g.floor = max(g.floor, n)
					g.Unlock()
				} else {
					time.Sleep(20 * time.Second) // until it is, or will never be
				}
			}
		})
		for _, m := range c.nodes {
			running.Go(func() {
				for !stopped() {
					time.Sleep(7 * time.Millisecond)
					s := m.store.Load()
					if s == nil {
						continue
					}
					floor := g.now()
					answered := make(chan struct{})
					s.ReadRetained(0, query, func(p RetainedPage, err error) {
						value := 0
						if len(p.Messages) == 1 {
							value, _ = strconv.Atoi(string(p.Messages[0].Message.Payload))
						}
						if err == nil {
							g.read(floor, value)
						} else if !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						close(answered)
					})
					<-answered
				}
			})
		}
		for i := range 12 {
			time.Sleep(3 * time.Second)
			m := c.leader()
			switch {
			case m == nil:
			case i%3 == 0:
				m.kill()
				time.Sleep(5 * time.Second)
				m.run(t)
			case i%3 == 1:
				m.store.Load().Raft(0).LeadershipTransfer()
			default:
				m.cut.Store(true)
				c.connect()
				time.Sleep(5 * time.Second)
				m.cut.Store(false)
				c.connect()
			}
		}
		time.Sleep(10 * time.Second)
		close(stop)
		running.Wait()
	})
	return g
}

// readRetained reads a page of shard 0 and waits for it.
func readRetained(s *Store, q RetainedQuery) (p RetainedPage, err error) {
	done := make(chan struct{})
	s.ReadRetained(0, q, func(page RetainedPage, e error) {
		p, err = page, e
		close(done)
	})
	<-done
	return p, err
}

// P8: a read from any node sees what was acknowledged before, and never less than
// another that was over before it began, whoever leads.
func TestReadRetainedIsLinearizable(t *testing.T) {
	g := watchRegister(t, RetainedQuery{Filter: filter("a")})
	if g.wrong != nil {
		t.Error(g.wrong)
	}
	if g.reads < 1000 || g.floor < 100 {
		t.Errorf("%d reads up to %d", g.reads, g.floor)
	}
}

// What the test above must find: reads of any replica that is there.
func TestReadRetainedFindsStaleReads(t *testing.T) {
	if g := watchRegister(t, RetainedQuery{Filter: filter("a"), AsOf: 1}); g.wrong == nil {
		t.Error("nothing was noticed")
	}
}

// A later page comes from this node's replica, if it has come as far as the first.
func TestLaterPagesNeedNoLeader(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.follower()
		for i := range 10 {
			m.do(Retain{Message: publish(fmt.Sprint("a/", i), "x", 1)})
		}
		s := m.store.Load()
		q := RetainedQuery{Filter: filter("a/#"), MaxMessages: 4}
		p, err := readRetained(s, q)
		expect(t, "first page", err, nil)
		expect(t, "messages", len(p.Messages), 4)
		expect(t, "more", p.More, true)
		time.Sleep(time.Second)
		m.cut.Store(true)
		c.connect()
		time.Sleep(10 * time.Second)
		q.Cursor, q.AsOf = p.Cursor, p.Index
		since := time.Now()
		p, err = readRetained(s, q)
		expect(t, "second page", err, nil)
		expect(t, "its last", p.Messages[3].Message.Topic.String(), "a/7")
		expect(t, "waited", time.Since(since), 0)

		q.AsOf = 0
		_, err = readRetained(s, q)
		expect(t, "a first page, cut off", err, ErrUnknown)
		expect(t, "waited", time.Since(since), outcomeTimeout)
		m.kill()
		_, err = readRetained(s, q)
		expect(t, "closed", err, ErrClosed)
	})
}

// A store in memory reads too, and not once it is closed.
func TestReadRetainedSolo(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.ok(Retain{Message: publish("a", "x", 1)})
		q := RetainedQuery{Filter: filter("+")}
		p, err := readRetained(b.Store, q)
		expect(b, "error", err, nil)
		expect(b, "messages", len(p.Messages), 1)
		expect(b, "index", p.Messages[0].Index <= p.Index, true)
		b.Close()
		_, err = readRetained(b.Store, q)
		expect(b, "closed", err, ErrClosed)
	})
}

// A page ends where many topics were looked at in vain, and the next goes on.
func TestPageLooksAtSoMany(t *testing.T) {
	sh := newManual(DefaultOptions())
	for i := range 2 * maxPageLooks {
		sh.submit(Retain{Message: publish(fmt.Sprint("t/", i, "/b"), "x", 1)}, nil)
	}
	sh.submit(Retain{Message: publish("t/~/a", "x", 1)}, nil)
	sh.settle()
	q := RetainedQuery{Filter: filter("t/+/a")}
	found := 0
	for n := 1; ; n++ {
		p := sh.reading.Load().page(&q, sh.shard)
		found += len(p.Messages)
		if q.Cursor = p.Cursor; !p.More {
			expect(t, "pages", n, 3)
			break
		}
	}
	expect(t, "found", found, 1)
}

// FuzzPage reads pages of leaders; what is read is written alike again.
func FuzzPage(f *testing.F) {
	f.Add(appendPage(nil, nil))
	f.Add(appendPage(nil, &RetainedPage{Index: 9, Cursor: "a", More: true, Messages: []RetainedMessage{
		{Message: publish("a", "x", 1), Index: 3}, {Message: publish("b", "", 2), Index: 9},
	}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{b: b}
		p, ok := r.page(0)
		if !ok {
			return
		}
		one := appendPage(nil, &p)
		again := reader{b: one}
		p, ok = again.page(0)
		if two := appendPage(nil, &p); !ok || !bytes.Equal(one, two) {
			t.Fatalf("%x became %x", one, two)
		}
	})
}
