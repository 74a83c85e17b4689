package raftstore

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// shared is a store of several shards with a share group on topic s.
type shared struct {
	*bench
	group router.Filter
	conns map[string]router.Subscriber
	epoch map[string]session.Epoch
}

func inGroup(t *testing.T, test func(s *shared)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, table: router.NewTable(), owner: &owner{
			pushes: map[router.Subscriber][]string{}, indices: map[router.Subscriber][]uint64{},
		}}
		o := DefaultOptions()
		o.Shards, o.Routes = 5, b.table
		store, err := Open(o, b.owner, b.owner)
		if err != nil {
			t.Fatal(err)
		}
		b.Store = store
		defer store.Close()
		test(&shared{
			bench: b, group: filter("$share/g/s"), conns: map[string]router.Subscriber{}, epoch: map[string]session.Epoch{},
		})
	})
}

func (s *shared) at(sh router.ShardID, cmd Command) Result {
	s.Helper()
	var got *Result
	s.Submit(sh, cmd, func(r Result) { got = &r })
	synctest.Wait()
	if got == nil || got.Err != nil {
		s.Fatalf("%T: %+v", cmd, got)
	}
	return *got
}

// attach connects a client that takes two messages at once.
func (s *shared) attach(id string, expiry uint32) {
	s.Helper()
	conn := router.Subscriber(len(s.conns) + 1)
	for _, other := range s.conns {
		conn = max(conn, other+1)
	}
	r := s.at(s.SessionShard(id), Claim{ClientID: id, Conn: conn, Expiry: expiry, Inflight: 4})
	s.conns[id], s.epoch[id] = conn, r.Claim.Epoch
}

func (s *shared) join(id string, expiry uint32, qos uint8) {
	s.Helper()
	s.attach(id, expiry)
	r := s.at(s.SessionShard(id), Subscribe{ClientID: id, Epoch: s.epoch[id], Filters: []Subscription{{Filter: s.group, Options: router.Options{QoS: qos}}}})
	s.at(GroupShard(s.group, 5), Member{
		Group: s.group, ClientID: id, Shard: s.SessionShard(id), AsOf: r.Index, Stored: expiry > 0, Options: router.Options{QoS: qos},
	})
}

func (s *shared) detach(id string) {
	s.Helper()
	s.at(s.SessionShard(id), Detach{ClientID: id, Epoch: s.epoch[id]})
}

func (s *shared) ack(id string, index uint64, received bool) {
	s.Helper()
	s.at(s.SessionShard(id), Acks{Items: []Ack{{ClientID: id, Epoch: s.epoch[id], Index: index, Received: received}}})
}

// publish sends messages named 1 to n to wherever the table leads.
func (s *shared) publish(qos mqtt.QoS, payloads ...string) {
	s.Helper()
	for _, p := range payloads {
		var ms router.Matches
		s.table.Match(topic("s"), 0, &ms)
		expectAll(s, "shards", ms.Shards, GroupShard(s.group, 5))
		expect(s, "groups to draw from", len(ms.Groups), 0)
		s.at(ms.Shards[0], Enqueue{Message: publish("s", p, qos)})
	}
}

// got is what a client's connection was pushed.
func (s *shared) got(id, want string) {
	s.Helper()
	expect(s, id+" got", strings.Join(s.owner.pushes[s.conns[id]], " "), want)
}

// sound verifies all shards.
func (s *shared) sound() {
	s.Helper()
	s.sleep(time.Minute)
	for _, sh := range s.shards {
		if err := sh.st.check(); err != nil {
			s.Fatal(err)
		}
		for to, box := range sh.st.mail.out {
			expect(s, fmt.Sprintf("letters of shard %d to %d", sh.id, to), len(box.letters), 0)
		}
	}
}

func (s *shared) table0() *group {
	return s.shards[GroupShard(s.group, 5)].st.groups.of[s.group.String()]
}

// P9: a group with a stored member is a queue: what nobody takes now is there for
// whoever comes.
func TestGroupQueuesWhileItsMembersAreAway(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.join("a", 3600, 1)
		s.detach("a")
		s.publish(1, "1", "2", "3")
		s.sound()
		s.attach("a", 3600)
		s.got("a", "1 2")
		s.ack("a", 1, false)
		s.got("a", "1 2 3")
		s.ack("a", 2, false)
		s.ack("a", 3, false)
		s.sound()
		expect(t, "given", s.table0().members[0].given, 0)
	})
}

// P9, [MQTT-4.8.2-4, -5]: what a member that leaves had not acknowledged goes to
// another; of QoS 2 what may have been sent stays with its session.
func TestGroupTakesBackFromAMemberThatLeaves(t *testing.T) {
	for qos, want := range map[mqtt.QoS]string{1: "2 4 1 3", 2: "2 4"} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			inGroup(t, func(s *shared) {
				s.join("a", 3600, 2)
				s.join("b", 3600, 2)
				s.publish(qos, "1", "2", "3", "4")
				s.got("a", "1 3")
				s.got("b", "2 4")
				s.detach("a")
				s.sound()
				s.got("b", "2 4") // it has no room
				for index := range uint64(2) {
					s.ack("b", index+1, qos == 2)
				}
				s.sound()
				s.got("b", want)
				back := s.at(s.SessionShard("a"), Claim{ClientID: "a", Conn: 99, Expiry: 3600, Inflight: 4}).Claim
				expect(t, "stays", len(back.Window), map[mqtt.QoS]int{1: 0, 2: 2}[qos])
			})
		})
	}
}

// A member whose session ends: of QoS 2 what was sent ends with it, and is counted.
func TestGroupMemberEnds(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.join("a", 3600, 2)
		s.publish(2, "1", "2", "3")
		s.join("b", 3600, 2)
		s.got("b", "3")
		s.at(s.SessionShard("a"), Delete{ClientID: "a"})
		s.sound()
		s.got("b", "3")
		expect(t, "members", len(s.table0().members), 1)
	})
}

// Ephemeral members of a queue are members of it.
func TestGroupBecomesAQueueAndEnds(t *testing.T) {
	inGroup(t, func(s *shared) {
		match := func() (ms router.Matches) {
			s.table.Match(topic("s"), 0, &ms)
			return ms
		}
		s.join("e", 0, 1)
		ms := match()
		expect(t, "shards", len(ms.Shards), 0)
		expect(t, "queues", s.table0().queues, false)
		expect(t, "handed on to no queue", s.at(GroupShard(s.group, 5), Share{Group: s.group, Message: publish("s", "x", 1)}).Known, false)

		s.join("p", 3600, 1)
		s.publish(1, "1", "2")
		s.got("e", "1")
		s.got("p", "2")
		s.at(s.SessionShard("p"), Unsubscribe{ClientID: "p", Epoch: s.epoch["p"], Filters: []router.Filter{s.group}})
		s.publish(1, "3") // still a queue: an ephemeral member is left
		s.got("e", "1 3")
		s.publish(1, "4")
		expect(t, "handed on", s.at(GroupShard(s.group, 5), Share{Group: s.group, Message: publish("s", "5", 1)}).Known, true)
		s.detach("e")
		s.sound()
		expect(t, "group is kept for what p still has", len(s.table0().members), 1)
		ms = match()
		expect(t, "shards", len(ms.Shards), 0)
		s.ack("p", 1, false)
		s.sound()
		expect(t, "group is gone", s.table0() == nil, true)
	})
}

// Of QoS 2 what the broker of a member did not send goes to another.
func TestGroupTakesBackWhatWasNotSent(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.join("e", 0, 2)
		s.join("p", 3600, 2)
		s.publish(2, "1", "2", "3")
		s.got("e", "1 3")
		s.at(s.SessionShard("e"), Acks{Items: []Ack{{ClientID: "e", Epoch: s.epoch["e"], Index: 2, Back: true}}})
		s.detach("e")
		s.sound()
		s.got("p", "2 3")
	})
}

// P9: of QoS 2 what was pushed to a connection that was gone goes to another member,
// what came to it ends with it.
func TestGroupTakesBackWhatCameToNobody(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.join("p", 100, 2)
		s.join("e", 0, 2)
		s.detach("p")
		s.publish(2, "came", "late")
		s.got("e", "came late")
		s.at(s.SessionShard("e"), Detach{ClientID: "e", Epoch: s.epoch["e"], HasExpiry: true, HasTaken: true, Taken: 1})
		s.attach("p", 100)
		s.got("p", "late")
		s.sound()
	})
}

func TestGroupQoS0(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.join("a", 3600, 0)
		s.join("b", 3600, 2)
		s.detach("b")
		for _, p := range []string{"1", "2"} {
			s.at(GroupShard(s.group, 5), Transient{Message: publish("s", p, 0)})
			synctest.Wait()
		}
		s.got("a", "1 2")
		s.publish(1, "3") // granted with QoS 0
		s.got("a", "1 2 3")
		s.detach("a")
		s.publish(1, "4")
		s.attach("a", 3600)
		s.got("a", "4")
		s.sound()
	})
}

func TestGroupMessagesExpire(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.join("a", 3600, 1)
		s.detach("a")
		m := publish("s", "gone", 1)
		m.HasExpiry, m.Expiry = true, 5
		s.at(GroupShard(s.group, 5), Enqueue{Message: m})
		s.sleep(6 * time.Second)
		s.publish(1, "kept")
		s.attach("a", 3600)
		s.got("a", "kept")
		s.sound()
	})
}

// A broker's news of a member that has left meanwhile is put right.
func TestGroupAsksAboutAMember(t *testing.T) {
	inGroup(t, func(s *shared) {
		s.attach("a", 3600)
		s.at(GroupShard(s.group, 5), Member{Group: s.group, ClientID: "a", Shard: s.SessionShard("a"), AsOf: 1, Stored: true})
		s.at(GroupShard(s.group, 5), Member{Group: s.group, ClientID: "nobody", Shard: s.SessionShard("nobody"), AsOf: 1, Stored: true})
		s.sound()
		expect(t, "group is gone", s.table0() == nil, true)
	})
}

// After a restore from backups nobody is connected, and what was on its way to
// members waits for them again.
func TestGroupsInABackup(t *testing.T) {
	given := 0
	for seed := range uint64(20) {
		st := populated(seed, 300)
		waiting := map[string]int{}
		for text, g := range st.groups.of {
			waiting[text] = len(g.queue)
		}
		for i := range 4 {
			k, body := Enqueue{Message: publish("s/1", fmt.Sprint("late", i), 1)}.encode(nil, nil)
			st.apply(appendCommand(appendEntryHead(nil, entryHead{time: st.now}), k, body), nil)
		}
		for to := range st.mail.out {
			for _, l := range st.mail.out[to].letters {
				if l.kind == letterGive {
					given++
				}
			}
		}
		for text, g := range st.groups.of {
			if g.queues && g.filter.Matches(topic("s/1")) {
				waiting[text] += 4
			}
		}
		st.refound(0)
		if err := st.check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for text, g := range st.groups.of {
			expect(t, "messages in "+text, len(g.queue), waiting[text])
			expect(t, "with room", len(g.ready), 0)
		}
		for to := range st.mail.out {
			for _, l := range st.mail.out[to].letters {
				if l.kind != letterMember {
					t.Errorf("seed %d: a letter of kind %d", seed, l.kind)
				}
			}
		}
	}
	if given == 0 {
		t.Error("nothing was on its way")
	}
}

// A shard that is restored after it has written to others goes on numbering.
func TestRestoredLettersFollow(t *testing.T) {
	letters := func(to ...router.ShardID) (m mail) {
		st := newState(0)
		for _, sh := range to {
			st.send(sh, letter{kind: letterDone, group: filter("$share/g/s")})
		}
		return st.mail
	}
	before, restored := letters(0, 0, 2), letters(0, 1)
	restored.follow(&before)
	expect(t, "check", restored.check(), nil)
	var got []string
	for to, o := range restored.out {
		got = append(got, fmt.Sprint(to, " up to ", o.last, " from ", o.low()))
	}
	expectAll(t, "outboxes", got, "0 up to 3 from 3", "1 up to 1 from 1", "2 up to 1 from 2")
}

// A letter counts once, in its turn, whoever brings it how often.
func TestLettersAreNumbered(t *testing.T) {
	sh := newManual(DefaultOptions())
	g := filter("$share/g/s")
	join := func(number uint64, id string) posted {
		return posted{from: 3, low: 1, letter: &letter{
			number: number, kind: letterMember, group: g, clientID: id, news: news{asOf: 1, subscribed: true},
		}}
	}
	for _, c := range []struct {
		letter  posted
		err     error
		known   bool
		taken   uint64
		members int
	}{
		{join(2, "b"), errTurn, false, 0, 0},
		{join(1, "a"), nil, false, 1, 1},
		{join(1, "b"), nil, true, 1, 1},
		{join(2, "b"), nil, false, 2, 2},
		{join(1, "c"), nil, true, 2, 2},
	} {
		r := sh.do(c.letter)
		expect(t, "error", r.Err, c.err)
		expect(t, "known", r.Known, c.known)
		expect(t, "taken", r.Seq, c.taken)
		members := 0
		if g := sh.st.groups.of[g.String()]; g != nil {
			members = len(g.members)
		}
		expect(t, "members", members, c.members)
	}
	// A shard that was restored from an older backup takes what the others have.
	later := join(9, "d")
	later.low = 9
	expect(t, "taken", sh.do(later).Seq, 9)
}

// P10: who comes and goes while a group's shard takes no letters is refused in the
// end, and who is there may leave.
func TestLettersAreBounded(t *testing.T) {
	st := newState(0)
	do := func(c Command) Result {
		k, body := c.encode(nil, nil)
		return st.apply(appendCommand(appendEntryHead(nil, entryHead{time: 1}), k, body), nil)[0]
	}
	do(DefaultLimits())
	e := do(Claim{ClientID: "a", Expiry: 60}).Claim.Epoch
	subscribe := Subscribe{ClientID: "a", Epoch: e, Filters: []Subscription{subscription("a", 1), subscription("$share/g/s", 1)}}
	expect(t, "subscribe", do(subscribe).Err, nil)
	refused := false
	for range maxLetters {
		do(Detach{ClientID: "a", Epoch: e})
		r := do(Claim{ClientID: "a", Expiry: 60})
		if refused = r.Err == ErrQuota; refused {
			break
		}
		e = r.Claim.Epoch
	}
	expect(t, "refused", refused, true)
	expect(t, "another's claim", do(Claim{ClientID: "b", Expiry: 60}).Err, nil)
	if n := len(st.mail.out[0].letters); n > maxLetters+1 {
		t.Errorf("%d letters", n)
	}
}

// A group's queue is bounded as a session's is.
func TestGroupQueueIsBounded(t *testing.T) {
	o := DefaultOptions()
	o.Limits.QueueMessages = 3
	sh := newManual(o)
	g := filter("$share/g/s")
	sh.do(Member{Group: g, ClientID: "nobody", Stored: true})
	e := sh.do(Claim{ClientID: "a", Expiry: 60, Inflight: 2}).Claim.Epoch
	sh.do(Subscribe{ClientID: "a", Epoch: e, Filters: []Subscription{{Filter: g, Options: router.Options{QoS: 1}}}})
	sh.do(Detach{ClientID: "a", Epoch: e})
	for i, want := range []int{0, 0, 0, 1, 1} {
		expect(t, fmt.Sprint("dropped of ", i), sh.do(Enqueue{Message: publish("s", fmt.Sprint(i), 1)}).Dropped, want)
	}
	if err := sh.st.check(); err != nil {
		t.Fatal(err)
	}
}
