package raftstore

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"dunlin/raftstore/formattest"
	"dunlin/router"
	"dunlin/session"
)

var update = flag.Bool("update", false, "make the fixture "+newestFixture)

// newestFixture is the fixture that -update makes. It has to hold all that can be
// written: TestFormatsAreWhole.
const newestFixture = "v1.1"

// scribe is a shard whose entries are kept. It is shard 0 of two.
type scribe struct {
	*state
	entries [][]byte
	numbers map[source]uint64
	at      session.Time
}

// do makes an entry of commands that a node's start has, or the leader for the
// zero source, and applies it.
func (s *scribe) do(by source, commands ...Command) []Result {
	s.at += session.Seconds(1)
	b := appendEntryHead(nil, entryHead{time: s.at, wall: 1_700_000_000 + uint64(s.at/session.Seconds(1)), maker: 77, number: uint64(len(s.entries)) + 1})
	if by.node != 0 {
		by.low = max(by.low, 1)
		whose := source{node: by.node, start: by.start}
		b = appendCommand(b, kindFrom, by.encode(nil, s.numbers[whose]+1))
		for _, c := range commands {
			if k, _ := c.encode(nil, s.clock); k.numbered() {
				s.numbers[whose]++
			}
		}
	}
	for _, c := range commands {
		k, body := c.encode(nil, s.clock)
		b = appendCommand(b, k, body)
	}
	s.entries = append(s.entries, b)
	return s.apply(b, nil)
}

func (s *scribe) clock() session.Time { return 0 }

// deliver has the letters that the shard wrote to itself come.
func (s *scribe) deliver() {
	for box := &s.mail.out[0]; len(box.letters) > 0; box = &s.mail.out[0] {
		l := box.letters[0]
		p := posted{from: 0, low: box.low(), letter: &l}
		if l.kind.hasMessage() {
			parseStored(l.packed, l.deadline, s.now, 0, &p.message)
		}
		s.do(source{}, p)
		s.do(source{}, delivered{0, l.number})
	}
}

// share is the filter of a share group that shard sh of two keeps.
func shareIn(sh router.ShardID, f string) router.Filter {
	for i := 0; ; i++ {
		if g := filter(fmt.Sprintf("$share/g%d/%s", i, f)); GroupShard(g, 2) == sh {
			return g
		}
	}
}

// writeFixture leads a shard to a state with something in every corner, by entries
// with every command.
func writeFixture() *scribe {
	s := &scribe{state: newState(0), numbers: map[source]uint64{}}
	s.shards = 2
	one, two := source{node: 1, start: 1}, source{node: 2, start: 5}
	claims := map[source]uint64{}
	claim := func(by source, c Claim) session.Epoch {
		claims[by]++
		c.by = claimant{by.node, by.start, claims[by], claims[by], by.start + 1}
		return s.do(by, c)[0].Claim.Epoch
	}
	qos2 := func(to, payload string, seq uint64) session.Message {
		m := publish(to, payload, 2)
		m.Origin, m.Seq, m.Low = 900, seq, min(seq, 2)
		return m
	}
	expires := func(m session.Message, seconds uint32) session.Message {
		m.HasExpiry, m.Expiry = true, seconds
		return m
	}
	will := func(to string, delay uint32) *Will {
		return &Will{Message: expires(publish(to, "last words", 1), 600), Delay: delay}
	}
	with := func(f router.Filter, o router.Options, handling uint8) Subscription {
		return Subscription{Filter: f, Options: o, RetainHandling: handling}
	}

	s.do(source{}, Limits{Sessions: 100, QueuedBytes: 1 << 20, Retained: 50, RetainedBytes: 1 << 20, QueueMessages: 10, QueueBytes: 1 << 16, InflightBytes: 1 << 14})

	// Retained messages: one that stays, one that expires, one that is deleted, one of QoS 2.
	keep := func(m session.Message) session.Message { m.Retain = true; return m }
	s.do(one, Retain{keep(publish("r/stays", "1", 1))}, Retain{keep(expires(publish("r/expires", "2", 0), 3000))},
		Retain{keep(publish("r/gone", "3", 1))}, Retain{keep(publish("r/gone", "", 1))}, Retain{keep(qos2("r/once", "4", 1))})

	// A session with a committed window in each stage, messages behind it, a will, a
	// replay that is under way, and identifiers of its own QoS 2 publishes.
	busy := claim(one, Claim{ClientID: "busy", User: "ada", Conn: 11, Expiry: 3600, Inflight: 4, Will: will("w/busy", 30)})
	s.do(one, Subscribe{"busy", busy, []Subscription{
		with(filter("a/#"), router.Options{QoS: 2, RetainAsPublished: true, ID: 4}, 2),
		with(filter("r/+"), router.Options{QoS: 1, NoLocal: true}, 0),
		with(filter("dropped"), router.Options{}, 1),
	}})
	s.do(one, Unsubscribe{"busy", busy, []router.Filter{filter("dropped"), filter("never")}})
	s.do(one, EnqueueFor{ClientID: "busy", Epoch: busy, Delivery: Delivery{Message: keep(publish("r/stays", "1", 1)), QoS: 1, Retain: true}, Replay: filter("r/+"), Shard: 1})
	s.do(one, Replaying{ClientID: "busy", Epoch: busy, Filter: filter("r/+"), Cuts: []session.Cut{{Shard: 0, Index: 6}, {Shard: 1, Index: 300}}})
	picky := claim(two, Claim{ClientID: "picky", User: "bob", Conn: 22, Expiry: session.Forever, Inflight: 1, MaxQueueMessages: 2, MaxQueueBytes: 4096, InflightBytes: 512, DropOldest: true})
	s.do(two, Subscribe{"picky", picky, []Subscription{with(filter("a/b"), router.Options{QoS: 1, NoLocal: true}, 2)}})
	for i := range uint64(6) {
		s.do(one, Enqueue{From: "somebody", Message: qos2("a/b", fmt.Sprint("message ", i), i+2)})
	}
	s.do(two, Enqueue{From: "picky", Message: expires(publish("a/b", "expires", 1), 900)}, Enqueue{Message: qos2("a/b", "ahead", 12)})
	s.do(one, Acks{Items: []Ack{{"busy", busy, 1, false, false}, {"busy", busy, 2, true, false}, {"busy", busy, 4, false, false}, {"stranger", 1, 1, false, false}}})
	s.do(one, Receive{"busy", busy, 7}, Receive{"busy", busy, 300}, Receive{"busy", busy, 301}, Release{"busy", busy, 7})

	// A will that waits for its delay, two that fired and of which one was published, a
	// session that ended and whose publisher is remembered, and one that was forgotten.
	late := claim(one, Claim{ClientID: "late", Conn: 12, Expiry: 7200, Inflight: 9, Will: will("w/late", 5000)})
	s.do(one, Detach{ClientID: "late", Epoch: late, Fire: true})
	fires := claim(one, Claim{ClientID: "fires", Conn: 13, Expiry: 50, Inflight: 9, Will: will("w/fires", 0)})
	s.do(one, Detach{ClientID: "fires", Epoch: fires, Fire: true, HasExpiry: true, Expiry: 100_000})
	ended := claim(one, Claim{ClientID: "ended", Conn: 14, Expiry: 50, Inflight: 9, Will: will("w/ended", 60)})
	s.do(one, Receive{"ended", ended, 1})
	s.do(one, Delete{"ended"})
	s.do(source{}, published{1})
	m := publish("nobody/wants", "it", 2)
	m.Origin, m.Seq, m.Low = 901, 1, 1
	s.do(one, Enqueue{Message: m})
	s.do(source{}, forget{901})

	// Connections: one taken over, one that only holds its identifier, and a node that
	// was lost.
	claim(two, Claim{ClientID: "moves", Conn: 23, Expiry: 60, Inflight: 9})
	claim(one, Claim{ClientID: "moves", Conn: 15, Expiry: 60, Inflight: 9})
	claim(one, Claim{ClientID: "plain", Conn: 16, Will: will("w/plain", 0)})
	three := source{node: 3, start: 2}
	claim(three, Claim{ClientID: "orphan", Conn: 31, Expiry: 4000, Inflight: 9, Will: will("w/orphan", 0)})
	s.do(source{}, lost{3, 3})

	// Share groups: one of this shard with messages that wait, were given, came back
	// and were done with; one of the other shard that has a member here.
	here, there := shareIn(0, "s/#"), shareIn(1, "s/#")
	var members []session.Epoch
	for i := range 2 {
		id := fmt.Sprint("member-", i)
		e := claim(one, Claim{ClientID: id, Conn: router.Subscriber(17 + i), Expiry: 600, Inflight: 4})
		members = append(members, e)
		res := s.do(one, Subscribe{id, e, []Subscription{with(here, router.Options{QoS: 2, RetainAsPublished: true, ID: 9}, 0), with(there, router.Options{QoS: 1}, 0)}})
		s.do(one, Member{Group: here, ClientID: id, Shard: 0, AsOf: res[0].Index, Stored: true, Options: router.Options{QoS: 2, RetainAsPublished: true, ID: 9}})
	}
	s.do(one, Member{Group: here, ClientID: "far", Shard: 1, AsOf: 3, Stored: true, Options: router.Options{QoS: 1}})
	s.deliver()
	s.do(two, Enqueue{Message: publish("s/1", "shared 1", 1)}, Enqueue{Message: qos2("s/2", "shared 2", 13)}, Share{Group: here, Message: publish("s/3", "shared 3", 1)})
	s.deliver()
	s.do(source{}, posted{from: 1, low: 1, letter: &letter{number: 1, kind: letterGive, group: there, clientID: "member-0", count: 5, options: router.Options{QoS: 1}}, message: publish("s/4", "given 4", 1)})
	s.do(source{}, posted{from: 1, low: 1, letter: &letter{number: 2, kind: letterMember, group: here, clientID: "far", news: news{asOf: 8, subscribed: true, stored: true, attached: true, room: 2, options: router.Options{QoS: 1}}}})
	s.do(source{}, posted{from: 1, low: 1, letter: &letter{number: 3, kind: letterAsk, group: there, clientID: "member-1"}})
	s.do(one, Acks{Items: []Ack{{"member-0", members[0], 1, false, false}, {"member-1", members[1], 1, false, true}}})
	s.deliver()
	for i := range 6 {
		s.do(two, Enqueue{Message: publish("s/5", fmt.Sprint("shared more ", i), 1)})
	}
	s.do(source{}, posted{from: 1, low: 3, letter: &letter{number: 4, kind: letterDone, group: here, clientID: "far", count: 1}})
	s.do(source{}, posted{from: 1, low: 3, letter: &letter{number: 5, kind: letterBack, group: here, clientID: "far", count: 2}, message: publish("s/2", "shared 2", 2)})
	s.do(source{}, delivered{1, 1})
	s.do(source{node: 2, start: 5, low: 4}, Receive{"picky", picky, 1}, Detach{ClientID: "picky", Epoch: picky + 1})

	// A connection of the group that is gone, with one message that came to it and one
	// that did not.
	guest := claim(one, Claim{ClientID: "guest", Conn: 19, Inflight: 4})
	s.do(one, Subscribe{"guest", guest, []Subscription{with(there, router.Options{QoS: 2}, 0)}})
	for i := range uint64(2) {
		s.do(source{}, posted{from: 1, low: 6, letter: &letter{number: 6 + i, kind: letterGive, group: there, clientID: "guest", count: 1 + i, options: router.Options{QoS: 2}}, message: publish("s/6", fmt.Sprint("for a guest ", i), 2)})
	}
	s.do(one, Detach{ClientID: "guest", Epoch: guest, HasExpiry: true, HasTaken: true, Taken: 1})
	return s
}

// dump says in words what a state holds, whatever the format that it came in.
func dump(st *state) []byte {
	var b bytes.Buffer
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	message := func(packed []byte, deadline session.Time) string {
		var m session.Message
		if _, err := m.Parse(packed, 0); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s %q, QoS %d, retain %t, expiry %d, origin %d seq %d low %d, retained by %d, until %d",
			m.Topic, m.Payload, m.QoS, m.Retain, m.Expiry, m.Origin, m.Seq, m.Low, m.Retained, deadline)
	}
	say("shard %d, command %d, time %d, wall %d, epochs %d, digest %016x", st.shard, st.index, st.now, st.wall, st.epochs, st.digest)
	say("limits %+v", st.limits)
	for _, e := range st.endings {
		say("ended until %d: node %d connection %d epoch %d reason %d", e.until, e.node, e.conn, e.epoch, e.reason)
	}
	for i := range st.wills.fired {
		w := &st.wills.fired[i]
		say("will %d of %d fired: %s of %q, origin %d seq %d: %s", w.number, st.wills.last, w.clientID, w.user, w.origin, w.seq, message(w.packed, session.Never))
	}
	for _, n := range slices.Sorted(maps.Keys(st.proposers.of)) {
		p := st.proposers.of[n]
		say("node %d start %d, generation %d: commands to %d, answers from %d, claims below %d and %v", n, p.start, p.generation, p.last, p.low, p.claims.low, p.claims.above)
		for r := (reader{b: p.answers}); len(r.b) > 0; {
			var res Result
			answer := reader{b: r.bytes()}
			answer.result(&res)
			say("  answer %d: known %t, seq %d, low %d, dropped %d, existed %v, error %v", res.Index, res.Known, res.Seq, res.Low, res.Dropped, res.Existed, cmp.Or(res.Err, answer.err))
		}
	}
	say("letters taken %v", st.mail.taken)
	for to, o := range st.mail.out {
		say("letters to shard %d: up to %d", to, o.last)
		for i := range o.letters {
			l := &o.letters[i]
			say("  %d of kind %d: %s %s %+v count %d options %+v", l.number, l.kind, l.group, l.clientID, l.news, l.count, l.options)
			if l.kind.hasMessage() {
				say("    %s", message(l.packed, l.deadline))
			}
		}
	}
	say("%d slots for messages, free %v", len(st.messages.slots), st.messages.free)
	for i := range st.messages.slots {
		if m := &st.messages.slots[i]; m.refs > 0 {
			say("message %d, %d references: %s", i, m.refs, message(m.packed, m.deadline))
			if m.share != nil {
				say("  of group %s, member %s, number %d", m.share.group, m.share.clientID, m.share.number)
			}
		}
	}
	say("%d slots for sessions, free %v", st.sessions.size(), st.sessions.free)
	for slot, rec := range st.sessions.each {
		say("session %d %s of %q: node %d connection %d, attached %t, stored %t, epoch %d, origin %d, expiry %d, due %d, low %d, next %d",
			slot, rec.clientID, rec.user, rec.node, rec.conn, rec.Attached(), rec.Stored(), rec.Epoch(), rec.Origin(), rec.Expiry(), rec.Due(), rec.Low(), rec.NextIndex())
		for sub := range rec.Subscriptions {
			say("  subscription %s %+v, retain handling %d", sub.Filter, sub.Options, sub.RetainHandling)
		}
		for r := range rec.Replays {
			say("  replay %s in shard %d after %q, cuts %v", r.Filter, r.Shard, r.Cursor, r.Cuts)
		}
		for o := range rec.Window {
			say("  in flight %d: QoS %d, retain %t, received %t, identifiers %v", o.Index, o.QoS, o.Retain, o.Received, o.IDs)
		}
		inflight, waiting, bytes := rec.Backlog()
		say("  %d in flight, %d waiting with %d bytes, of messages %v, inbound %v", inflight, waiting, bytes, slices.Collect(rec.References), rec.Inbound(nil))
	}
	st.retained.tree.Ascend(func(r retainedMessage) bool {
		say("retained by command %d: %s", r.index, message(r.packed, r.deadline))
		return true
	})
	for _, origin := range slices.Sorted(maps.Keys(st.publishers.seen)) {
		say("publisher %d: below %d and %v", origin, st.publishers.seen[origin].low, st.publishers.seen[origin].above)
	}
	for _, d := range st.publishers.departed {
		say("publisher %d ended, until %d, told %t", d.origin, d.at, d.again)
	}
	for _, name := range slices.Sorted(maps.Keys(st.groups.of)) {
		g := st.groups.of[name]
		say("group %s: queue %t, turn of %q, last %d", name, g.queues, g.turn, g.last)
		for _, m := range g.members {
			say("  member %s in shard %d: %+v, given %d", m.clientID, m.shard, m.news, m.given)
		}
		for _, w := range g.queue {
			say("  waits %d: message %d", w.number, w.ref)
		}
	}
	return b.Bytes()
}

// ages is dump of st and of what becomes of it when all nodes are lost, and then in
// a hundred days: what shows only then, such as the wills of connections.
func ages(st *state) []byte {
	b := append(dump(st), "\nAll nodes are lost, a hundred days later\n"...)
	for _, n := range slices.Sorted(maps.Keys(st.proposers.of)) {
		k, body := lost{n, st.proposers.of[n].generation}.encode(nil, nil)
		st.apply(appendCommand(appendEntryHead(nil, entryHead{time: st.now}), k, body), nil)
	}
	end := session.Time(100 * 24 * 3600 * 1e9)
	for due := st.nextDue(); due != session.Never && due <= end; due = st.nextDue() {
		st.apply(appendEntryHead(nil, entryHead{time: due}), nil)
	}
	clear(st.proposers.of)
	return append(b, dump(st)...)
}

// TestFormats reads what each version of the formats of log entries, snapshots and
// backups wrote.
func TestFormats(t *testing.T) {
	if *update {
		s := writeFixture()
		var entries bytes.Buffer
		for _, e := range s.entries {
			fmt.Fprintf(&entries, "%x\n", e)
		}
		var backup bytes.Buffer
		if err := writeBackupHead(&backup, 0, 2); err != nil {
			t.Fatal(err)
		}
		snapshot := snapshotOf(t, s.state)
		backup.Write(snapshot)
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		if err := formattest.Make(newestFixture, map[string][]byte{
			"entries.hex": entries.Bytes(), "snapshot": snapshot, "backup": backup.Bytes(), "state.txt": ages(s.state),
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			replayed := newState(0)
			replayed.shards = 2
			for _, e := range fixtureEntries(t, name) {
				replayed.apply(e, nil)
				replayed.fx.reset()
			}
			restored, err := restoreState(0, bytes.NewReader(fixtureFile(t, name, "snapshot")))
			if err != nil {
				t.Fatal(err)
			}
			restored.shards = 2
			if replayed.hash() != restored.hash() {
				t.Error("the log and the snapshot come to different states")
			}
			s := &Store{shards: make([]*shard, 2)}
			backup, err := s.readBackup(0, bytes.NewReader(fixtureFile(t, name, "backup")))
			if err != nil {
				t.Fatal(err)
			}
			if backup.hash() != restored.hash() {
				t.Error("the backup and the snapshot come to different states")
			}
			for what, st := range map[string]*state{"entries": replayed, "snapshot": restored} {
				if err := formattest.Compare(name, "state.txt", ages(st)); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestFormatsAreWhole: the fixtures have every command, every kind of letter and
// every section. If this fails after a new one was added, it needs a new fixture.
func TestFormatsAreWhole(t *testing.T) {
	var commands [kindDelivered + 1]bool
	var letters [letterAsk + 1]bool
	var sections [sectionEnd]int
	for _, name := range fixtures(t) {
		for _, e := range fixtureEntries(t, name) {
			for _, r := openEntry(e); len(r.b) > 0; {
				k, body := r.command()
				commands[k] = true
				if k == kindLetter {
					body.shardID()
					body.uvarint()
					l := body.letter()
					letters[l.kind] = true
				}
			}
		}
		r := snapshotReader{from: bytes.NewReader(fixtureFile(t, name, "snapshot"))}
		for {
			s, body, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			if s == sectionEnd {
				break
			}
			sections[s] += len(body.b)
		}
	}
	if len(applies) != len(commands) {
		t.Errorf("%d commands are not looked for", len(applies)-len(commands))
	}
	for k := range commands {
		if !commands[k] && k > 0 {
			t.Errorf("no fixture has command %d", k)
		}
	}
	for k := range letters {
		if !letters[k] && k > 0 {
			t.Errorf("no fixture has a letter of kind %d", k)
		}
	}
	for s := range sections {
		if sections[s] < 8 && s > 0 {
			t.Errorf("no fixture has section %d", s)
		}
	}
}

// TestUnknownVersions: what a later release wrote is refused by name.
func TestUnknownVersions(t *testing.T) {
	snapshot := newState(0)
	var b snapshotWriter
	var out bytes.Buffer
	b.to = &out
	b.begin(sectionHead)
	b.b = snapshot.appendHead(b.b)
	b.b[chunkHead] = snapshotVersion + 1
	b.end()
	_, err := restoreState(0, &out)
	wantVersions(t, err, "bad snapshot: section 1", snapshotVersion)

	entry := appendEntryHead(nil, entryHead{time: 5})
	entry[0] = entryVersion + 1
	func() {
		defer func() { wantVersions(t, fmt.Errorf("%v", recover()), "shard 0: entry after command 0", entryVersion) }()
		newState(0).apply(entry, nil)
	}()

	later := []byte(backupMagic + "\x00\x01\x00\x00")
	later[len(backupMagic)-1]++
	_, err = (&Store{shards: make([]*shard, 1)}).readBackup(0, bytes.NewReader(later))
	wantVersions(t, err, "not a backup of this shard", backupMagic[len(backupMagic)-1])
}

func wantVersions(t *testing.T, err error, what string, known byte) {
	t.Helper()
	if want := fmt.Sprintf("%s: format version %d, this release reads %d", what, known+1, known); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v instead of: %s", err, want)
	}
}

func fixtures(t *testing.T) []string {
	t.Helper()
	names, err := formattest.Names()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func fixtureFile(t *testing.T, name, file string) []byte {
	t.Helper()
	b, err := formattest.Read(name, file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fixtureEntries(t *testing.T, name string) (entries [][]byte) {
	t.Helper()
	for line := range bytes.Lines(fixtureFile(t, name, "entries.hex")) {
		e, err := hex.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}
