package raftstore

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/router"
	"dunlin/session"
)

// inTrio runs a test with three replicas that have a leader.
func inTrio(t *testing.T, test func(c *trio)) {
	t.Helper()
	inTrioOf(t, 4<<10, test)
}

// inTrioOf is inTrio with snapshots after so many bytes of log.
func inTrioOf(t *testing.T, snapshotBytes uint64, test func(c *trio)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t, snapshotBytes)
		c.await(t)
		test(c)
		for _, m := range c.nodes {
			m.kill()
		}
	})
}

// await waits for a leader that serves.
func (c *trio) await(t testing.TB) *member {
	t.Helper()
	for range 600 {
		if m := c.leader(); m != nil {
			return m
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("no leader in a minute")
	return nil
}

// follower is a node that is up and does not lead.
func (c *trio) follower() *member {
	for _, m := range c.nodes {
		if m.store.Load() != nil && m != c.leader() {
			return m
		}
	}
	return nil
}

// do submits a command at a node and waits for its result.
func (m *member) do(cmd Command) Result {
	done := make(chan Result, 1)
	m.store.Load().Submit(0, cmd, func(r Result) { done <- r })
	return <-done
}

func (c *trio) told(will string) bool {
	c.Lock()
	defer c.Unlock()
	return c.published[will]
}

// T2: what is due is never early, whoever leads; after a failover it is late by
// that at most, after an outage of all by the time that the group took to start.
func TestDeadlinesAcrossFailover(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, c *trio){
		"a new leader": func(t *testing.T, c *trio) { c.leader().kill() },
		"two, one after the other": func(t *testing.T, c *trio) {
			old := c.leader()
			old.kill()
			time.Sleep(20 * time.Second)
			old.run(t)
			time.Sleep(5 * time.Second)
			c.await(t).kill()
		},
		"all are down for two minutes": func(t *testing.T, c *trio) {
			for _, m := range c.nodes {
				m.kill()
			}
			time.Sleep(2 * time.Minute)
			for _, m := range c.nodes {
				m.run(t)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTrio(t, func(c *trio) {
				m := c.follower()
				e := m.do(Claim{ClientID: "c", Conn: 1, Expiry: 3600, Will: &Will{Message: publish("w", "gone", 1), Delay: 300}}).Claim.Epoch
				since := time.Now() // no later than the leader's stamp
				expect(t, "detached", m.do(Detach{ClientID: "c", Epoch: e, Fire: true}).Err, nil)
				time.Sleep(10 * time.Second)
				fail(t, c)
				for !c.told("gone") && time.Since(since) < time.Hour {
					time.Sleep(100 * time.Millisecond)
				}
				if after := time.Since(since); after < 300*time.Second || after > 325*time.Second {
					t.Errorf("a will due after 300 s was published after %s", after)
				}
			})
		})
	}
}

// An outage moves shard time by no more than the cap.
func TestOutageIsCapped(t *testing.T) {
	now := time.Unix(1e9, 0)
	rep := Replication{Wall: func() time.Time { return now }, OutageCap: time.Minute}
	for since, want := range map[uint64]time.Duration{
		0: 0, 1e9 - 30: 29 * time.Second, 1e9 - 3600: time.Minute, 1e9 + 3600: 0, 1: time.Minute,
	} {
		expect(t, fmt.Sprint("since ", since), time.Duration(rep.outage(since)), want)
	}
}

// P6: the wills of a node's connections are due when it is declared dead, or when
// it starts anew.
func TestOwnerNodeDies(t *testing.T) {
	for name, die := range map[string]func(t *testing.T, c *trio, m *member){
		"declared": func(t *testing.T, c *trio, m *member) {
			m.kill()
			c.await(t).store.Load().Lost(m.node, m.start)
		},
		"restarted": func(t *testing.T, c *trio, m *member) {
			m.kill()
			m.run(t)
			m.do(Delete{ClientID: "nobody"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTrio(t, func(c *trio) {
				m := c.follower()
				e := m.do(Claim{ClientID: "c", Conn: 1, Expiry: 3600, Will: &Will{Message: publish("w", "gone", 1)}}).Claim.Epoch
				time.Sleep(time.Second)
				expect(t, "too early", c.told("gone"), false)
				die(t, c, m)
				time.Sleep(time.Second)
				expect(t, "published", c.told("gone"), true)
				expect(t, "late word", c.await(t).do(Detach{ClientID: "c", Epoch: e}).Err, ErrFenced)
			})
		})
	}
}

// P6: whoever leads next declares a node dead as it begins to, which may have been
// known before the shard had a leader again.
func TestOwnerNodeDiesAndLeads(t *testing.T) {
	inTrio(t, func(c *trio) {
		dead := c.await(t)
		dead.do(Claim{ClientID: "c", Conn: 1, Expiry: 3600, Will: &Will{Message: publish("w", "gone", 1)}})
		node, start := dead.node, dead.start
		c.Lock()
		c.led = func(m *member) { m.store.Load().Lost(node, start) }
		c.Unlock()
		dead.kill()
		c.await(t)
		time.Sleep(time.Second)
		expect(t, "published", c.told("gone"), true)
	})
}

// A node that starts anew may begin, in a shard, with the claim of an identifier
// whose session it had and which ended with its earlier start.
func TestClaimByTheNextStart(t *testing.T) {
	for name, expiry := range map[string]uint32{"ended": 0, "kept": 3600} {
		t.Run(name, func(t *testing.T) {
			inTrio(t, func(c *trio) {
				m := c.follower()
				first := m.do(Claim{ClientID: "c", Conn: 1, Expiry: expiry})
				m.kill()
				m.run(t)
				again := m.do(Claim{ClientID: "c", Conn: 2, Expiry: expiry})
				expect(t, "refused", again.Err, nil)
				expect(t, "a later epoch", again.Claim.Epoch > first.Claim.Epoch, true)
				expect(t, "session present", again.Claim.Present, expiry > 0)
			})
		})
	}
}

// R6: what cannot be decided in time is unknown, and still counts once when it is.
func TestUnknownOutcome(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.leader()
		s := m.do(Claim{ClientID: "s", Conn: 9, Expiry: 3600, Inflight: 9})
		m.do(Subscribe{ClientID: "s", Epoch: s.Claim.Epoch, Filters: []Subscription{subscription("a", 1)}})
		m.cut.Store(true)
		c.connect()
		since := time.Now()
		expect(t, "cut off", m.do(Enqueue{Message: publish("a", "x", 1)}).Err, ErrUnknown)
		if after := time.Since(since); after < outcomeTimeout || after > outcomeTimeout+time.Second {
			t.Errorf("unknown after %s", after)
		}
		time.Sleep(10 * time.Second)
		m.cut.Store(false)
		c.connect()
		time.Sleep(10 * time.Second)
		page, _, _ := c.await(t).store.Load().Sessions(0, 0, 10)
		expect(t, "queued", page[0].Inflight+page[0].Waiting, 1)
	})
}

// T3: what a message waited in its node's lane is lowered from its expiry.
func TestExpiryInLane(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.leader()
		s := m.do(Claim{ClientID: "s", Conn: 9, Expiry: 3600, Inflight: 9})
		m.do(Subscribe{ClientID: "s", Epoch: s.Claim.Epoch, Filters: []Subscription{subscription("a", 1)}})
		m.cut.Store(true)
		c.connect()
		time.Sleep(3 * time.Second)
		for i, expiry := range []uint32{5, 60, 0} {
			msg := publish("a", fmt.Sprint(i), 1)
			msg.HasExpiry, msg.Expiry, msg.Received = expiry > 0, expiry, m.store.Load().shards[0].clock()
			m.store.Load().Submit(0, Enqueue{Message: msg}, nil)
			time.Sleep(1500 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		m.cut.Store(false)
		c.connect()
		time.Sleep(10 * time.Second)
		again := c.await(t).do(Claim{ClientID: "s", Conn: 10, Expiry: 3600, Inflight: 9})
		w := again.Claim.Window
		if len(w) != 2 || string(w[0].Message.Payload) != "1" || string(w[1].Message.Payload) != "2" {
			t.Fatalf("window %+v", w)
		}
		if left := w[0].Message.Expiry; left > 60-31 || left < 20 {
			t.Errorf("after more than 31 s of 60, %d are left", left)
		}
		expect(t, "without expiry", w[1].Message.HasExpiry, false)
		l := m.store.Load().lanes[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		expect(t, "bytes in the lane", l.mu.bytes, 0)
	})
}

// A connection that lost its session is told, though the leader that did it died
// before.
func TestEndedIsToldAgain(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.leader()
		m.do(Claim{ClientID: "c", Conn: 7, Expiry: 3600})
		r := m.store.Load().posts[0].replica.Load()
		r.call(func() { r.sh.world = world{deafOwners{}, deafOwners{}} })
		expect(t, "deleted", m.do(Delete{ClientID: "c"}).Known, true)
		time.Sleep(time.Second)
		m.kill()
		c.await(t)
		c.Lock()
		defer c.Unlock()
		expect(t, "told", c.ended[7], true)
	})
}

// What departed publishers left is forgotten twice: another leader may have died
// over the first time.
func TestForgottenTwice(t *testing.T) {
	p := newPublishers()
	p.depart(5, 1)
	p.depart(6, 2)
	for i, want := range []uint64{5, 6, 5, 6} {
		at := p.next()
		if at == session.Never {
			t.Fatalf("nothing is due after %d", i)
		}
		origin, _ := p.due(at, func(uint64) bool { return false })
		expect(t, fmt.Sprint("origin ", i), origin, want)
	}
	expect(t, "then", p.next(), session.Never)
}

// P6: what is said of a generation of a node's lease touches no connection of a later
// one, and no claim of it that was on its way is granted after.
func TestLostGeneration(t *testing.T) {
	st := newState(0)
	st.limits = DefaultLimits()
	do := func(cmd Command) Result {
		k, body := cmd.encode(nil, func() session.Time { return 0 })
		return st.apply(appendCommand(appendEntryHead(nil, entryHead{time: 1}), k, body), nil)[0]
	}
	number := uint64(0)
	claim := func(id string, generation uint64) Claim {
		number++
		return Claim{ClientID: id, Conn: router.Subscriber(number), Expiry: 60, by: claimant{1, 5, number, 1, generation}}
	}
	attached := func(id string) bool {
		_, rec := st.sessions.find([]byte(id))
		return rec != nil && rec.Attached()
	}
	expect(t, "a claim", do(claim("a", 7)).Err, nil)
	late := claim("late", 7)
	expect(t, "the generation before", do(lost{1, 6}).Err, nil)
	expect(t, "after it", attached("a"), true)
	expect(t, "the generation", do(lost{1, 7}).Err, nil)
	expect(t, "after that", attached("a"), false)
	expect(t, "too late", do(late).Err, ErrFenced)
	expect(t, "again", do(late).Err, ErrFenced)
	next := claim("b", 8)
	expect(t, "the next generation", do(next).Err, nil)
	expect(t, "said late", do(lost{1, 7}).Err, nil)
	expect(t, "after what was said late", attached("b"), true)
	expect(t, "again", do(next).Err, nil)
	expect(t, "one after that", do(claim("c", 9)).Err, nil)
	expect(t, "asked again, granted before", do(next).Err, nil)
	expect(t, "of a node that never spoke", do(lost{2, 3}).Err, nil)
	stranger := Claim{ClientID: "d", Conn: 1, Expiry: 60, by: claimant{2, 1, 1, 1, 3}}
	expect(t, "its claim", do(stranger).Err, ErrFenced)
	if err := st.check(); err != nil {
		t.Fatal(err)
	}
}

// R2: a number is taken once and in its turn, and who asks again hears the same.
func TestNumbers(t *testing.T) {
	st := newState(0)
	st.limits = DefaultLimits()
	entry := func(s source, number uint64, cmds ...Command) []Result {
		b := appendCommand(appendEntryHead(nil, entryHead{time: 1}), kindFrom, s.encode(nil, number))
		for _, c := range cmds {
			k, body := c.encode(nil, func() session.Time { return 0 })
			b = appendCommand(b, k, body)
		}
		return st.apply(b, nil)
	}
	me := source{node: 1, start: 5, low: 1}
	claim := Claim{ClientID: "c", Conn: 1, Expiry: 60, by: claimant{1, 5, 1, 1, 1}}
	e := entry(me, 1, claim)[0].Claim.Epoch
	sub := Subscribe{ClientID: "c", Epoch: e, Filters: []Subscription{subscription("a", 1)}}
	receive := Receive{ClientID: "c", Epoch: e, PacketID: 3}
	first := entry(me, 1, sub, receive)
	again := entry(me, 1, sub, receive)
	expect(t, "existed", first[0].Existed[0] || again[0].Existed[0], false)
	expect(t, "seq", again[1].Seq, first[1].Seq)
	expect(t, "known", again[1].Known, false)
	expect(t, "out of turn", entry(me, 5, receive)[0].Err, errTurn)
	me.low = 3
	expect(t, "next", entry(me, 3, receive)[0].Known, true)
	expect(t, "long answered", entry(me, 1, sub)[0].Err, ErrUnknown)
	expect(t, "answers kept", st.proposers.of[1].low, 3)

	expect(t, "the same claim", entry(me, 4, claim)[0].Claim.Epoch, e)
	other := Claim{ClientID: "c", Conn: 2, Expiry: 60, by: claimant{2, 1, 1, 1, 1}}
	expect(t, "present", entry(source{node: 2, start: 1, low: 1}, 1, other)[0].Claim.Present, true)
	expect(t, "taken over meanwhile", entry(me, 4, claim)[0].Err, ErrFenced)

	me.start, me.low = 6, 1
	expect(t, "a new start", entry(me, 1, Delete{ClientID: "x"})[0].Err, nil)
	me.start = 5
	expect(t, "an old one", entry(me, 4, Delete{ClientID: "x"})[0].Err, ErrFenced)
	if err := st.check(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkReplicated is the cost of a command that three replicas in one process
// commit, with stores in memory, by how many are under way at once.
func BenchmarkReplicated(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("waiting=", n), func(b *testing.B) {
			c := newTrio(b, 0)
			c.Lock()
			c.entries = nil // not to be compared
			c.Unlock()
			m := c.await(b)
			e := m.do(Claim{ClientID: "s", Conn: 9, Expiry: 3600, Inflight: 9}).Claim.Epoch
			m.do(Subscribe{ClientID: "s", Epoch: e, Filters: []Subscription{subscription("t/1", 1)}})
			msg := publish("t/1", string(make([]byte, 128)), 1)
			done := make(chan struct{}, n)
			b.ReportAllocs()
			for b.Loop() {
				for range n {
					m.store.Load().Submit(0, Enqueue{From: "p", Message: msg}, func(Result) { done <- struct{}{} })
				}
				for range n {
					<-done
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/command")
			for _, m := range c.nodes {
				m.kill()
			}
		})
	}
}

// What a node shows of its replica: one leads, all name it, the same voters and,
// at one index, the same digest (D6).
func TestReplicaInfo(t *testing.T) {
	inTrio(t, func(c *trio) {
		time.Sleep(time.Minute)
		leader, leads := c.leader(), 0
		first, _ := leader.store.Load().Replica(0)
		for _, m := range c.nodes {
			r, ok := m.store.Load().Replica(0)
			if !ok || len(r.Voters) != 3 || r.Leader != first.Leader || r.Term != first.Term {
				t.Errorf("%+v beside %+v", r, first)
			}
			if r.Applied == first.Applied && r.Digest != first.Digest {
				t.Errorf("at %d: %x and %x", r.Applied, r.Digest, first.Digest)
			}
			if r.Role == "leader" {
				leads++
			}
		}
		if leads != 1 || first.Role != "leader" {
			t.Errorf("%d lead; the leader is a %s", leads, first.Role)
		}
	})
}
