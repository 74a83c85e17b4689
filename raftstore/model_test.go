package raftstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// model is the shard as its promises describe it, in plain maps: what Apply and
// its tables are compared with.
type model struct {
	now      session.Time
	sessions map[string]*modelSession
	seen     map[[2]uint64]bool // QoS 2 messages taken (R2)
	retained map[string]modelMessage
	log      []string // pushes and wills since last asked

	groups   map[string]*modelGroup
	mail     []func()
	finished []*modelGift
	turn     int
	queue    int    // Limits.QueueMessages
	index    uint64 // of the latest command
	free     []int  // slots of sessions
	size     int
}

type modelSession struct {
	slot             int
	user             string
	epoch            session.Epoch
	node             Node
	conn             router.Subscriber
	attached, stored bool
	expiry           uint32
	left             session.Time // when it was detached
	will             string
	delay            uint32
	hasWill          bool
	inflight         int
	inflightBytes    int
	maxQueue         int
	dropOldest       bool
	subs             []Subscription
	window, waiting  []*modelItem
	index            uint64
	seq              uint64
	inbound          map[uint16]uint64
	replays          []session.Replay
}

type modelItem struct {
	index          uint64
	payload        string
	qos            mqtt.QoS
	retain         bool
	ids            []uint32
	deadline       session.Time
	size           int
	received, done bool
	gift           *modelGift // of a share group
}

type modelMessage struct {
	payload  string
	deadline session.Time
}

func newModel(now session.Time) *model {
	return &model{
		now: now, sessions: map[string]*modelSession{}, seen: map[[2]uint64]bool{}, retained: map[string]modelMessage{},
		groups: map[string]*modelGroup{}, queue: DefaultLimits().QueueMessages,
	}
}

// advance moves time and does what is due, sessions in the order of their time.
func (m *model) advance(now session.Time) {
	m.now = now
	defer m.finish()
	for _, id := range m.bySlot() {
		s := m.sessions[id]
		if s.attached {
			continue
		}
		end, will := s.left+session.Seconds(s.expiry), s.left+session.Seconds(s.delay)
		switch {
		case s.expiry != session.Forever && end <= now:
			m.end(id, allTaken)
		case s.hasWill && will <= now:
			m.fire(id)
		}
	}
	for to, r := range m.retained {
		if r.deadline != 0 && r.deadline <= now {
			delete(m.retained, to)
		}
	}
}

func (m *model) fire(id string) {
	s := m.sessions[id]
	s.seq++
	m.log = append(m.log, fmt.Sprintf("will of %s: %s", id, s.will))
	s.hasWill = false
}

func (m *model) end(id string, taken uint64) {
	s := m.sessions[id]
	for _, sub := range s.subs {
		m.left(sub.Filter, id)
	}
	m.reclaim(s, taken)
	for _, it := range s.window {
		m.isDone(it)
	}
	if s.hasWill {
		m.fire(id)
	}
	delete(m.sessions, id)
	m.free = append(m.free, s.slot)
}

// owned is the session that a write is for, or nil (E1).
func (m *model) owned(id string, e session.Epoch) *modelSession {
	if s := m.sessions[id]; s != nil && s.attached && s.epoch == e {
		return s
	}
	return nil
}

// apply does one command and describes its result.
func (m *model) apply(c Command, res Result) string {
	m.index = res.Index
	defer m.finish()
	switch c := c.(type) {
	case Claim:
		return m.claim(c, res)
	case Detach:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		s.attached, s.left = false, m.now
		if c.HasExpiry {
			s.expiry = c.Expiry
		}
		s.hasWill = s.hasWill && c.Fire
		if s.expiry == 0 || !s.stored {
			taken := uint64(allTaken)
			if c.HasTaken {
				taken = c.Taken
			}
			m.end(c.ClientID, taken)
		} else {
			if s.hasWill && s.delay == 0 {
				m.fire(c.ClientID)
			}
			m.tell(c.ClientID, all)
			m.reclaim(s, allTaken)
		}
		return ""
	case Delete:
		if m.sessions[c.ClientID] == nil {
			return "known=false"
		}
		m.end(c.ClientID, allTaken)
		return "known=true"
	case Subscribe:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		var existed []bool
		for _, sub := range c.Filters {
			i := s.find(sub.Filter)
			existed = append(existed, i >= 0)
			if i >= 0 {
				s.subs = slices.Delete(s.subs, i, i+1)
			}
			s.subs = append(s.subs, sub)
			if sub.Filter.Group() == "" && sub.Filter.String()[0] != '$' && (sub.RetainHandling == 0 || sub.RetainHandling == 1 && i < 0) {
				s.endReplay(sub.Filter)
				s.replays = append(s.replays, session.Replay{Filter: sub.Filter})
			}
			m.tell(c.ClientID, func(f router.Filter) bool { return f == sub.Filter })
		}
		return fmt.Sprint(existed)
	case Unsubscribe:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		var existed []bool
		for _, f := range c.Filters {
			i := s.find(f)
			existed = append(existed, i >= 0)
			if i >= 0 {
				s.subs = slices.Delete(s.subs, i, i+1)
				m.left(f, c.ClientID)
			}
			s.endReplay(f)
		}
		return fmt.Sprint(existed)
	case Replaying:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		if c.Done {
			s.endReplay(c.Filter)
		} else if r := s.replay(c.Filter); r != nil {
			r.Cuts = c.Cuts
		}
		return ""
	case Member:
		g := m.groups[c.Group.String()]
		if g == nil || g.members[c.ClientID] == nil || g.members[c.ClientID].asOf < c.AsOf {
			m.hear(c.Group.String(), c.ClientID, modelMember{asOf: c.AsOf, subscribed: true, stored: c.Stored, options: c.Options})
			m.ask(c.Group.String(), c.ClientID)
		}
		return ""
	case Share:
		if g := m.groups[c.Group.String()]; g == nil || !g.queues {
			return "known=false dropped=0"
		}
		return fmt.Sprintf("known=true dropped=%d", m.share(c.Group.String(), &c.Message))
	case Enqueue:
		return m.enqueue(c)
	case Transient:
		for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
			if s := m.sessions[id]; s.attached {
				if _, rap, ids, ok := s.wants(c.Message.Topic, c.From == id); ok {
					m.push(s, &modelItem{payload: string(c.Message.Payload), retain: c.Message.Retain && rap, ids: ids})
				}
			}
		}
		for _, name := range m.wanting(c.Message.Topic) {
			m.pass(name, &c.Message)
		}
		return ""
	case EnqueueFor:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		d := c.Delivery
		if r := s.replay(c.Replay); r != nil {
			r.Shard, r.Cursor = c.Shard, d.Message.Topic.String()
		}
		if d.QoS == 0 {
			m.push(s, &modelItem{payload: string(d.Message.Payload), retain: d.Retain, ids: d.IDs})
			return "dropped=0"
		}
		return fmt.Sprintf("dropped=%d", m.append(s, &d.Message, d.QoS, d.Retain, d.IDs))
	case Acks:
		fenced := ""
		for i, a := range c.Items {
			s := m.owned(a.ClientID, a.Epoch)
			if s == nil {
				fenced = "fenced"
				continue
			}
			m.ack(s, a)
			if next := i + 1; next == len(c.Items) || c.Items[next].ClientID != a.ClientID || c.Items[next].Epoch != a.Epoch {
				m.move(s) // nothing sent because of this batch is acknowledged by it
			}
		}
		return fenced
	case Receive:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		seq, known := s.inbound[c.PacketID]
		if !known {
			s.seq++
			seq = s.seq
			s.inbound[c.PacketID] = seq
		}
		return fmt.Sprintf("seq=%d known=%t low=%d", seq, known, s.low())
	case Release:
		s := m.owned(c.ClientID, c.Epoch)
		if s == nil {
			return "fenced"
		}
		_, known := s.inbound[c.PacketID]
		delete(s.inbound, c.PacketID)
		return fmt.Sprintf("known=%t low=%d", known, s.low())
	case Retain:
		to := c.Message.Topic.String()
		if o := c.Message.Origin; o != 0 {
			key := [2]uint64{o | 1<<63, c.Message.Seq}
			if m.seen[key] {
				return "known=true"
			}
			m.seen[key] = true
		}
		if len(c.Message.Payload) == 0 {
			delete(m.retained, to)
			return "known=false"
		}
		m.retained[to] = modelMessage{string(c.Message.Payload), m.deadline(&c.Message)}
		return "known=false"
	}
	panic(fmt.Sprintf("%T", c))
}

func (m *model) deadline(msg *session.Message) session.Time {
	if !msg.HasExpiry {
		return 0
	}
	return m.now + session.Seconds(msg.Expiry)
}

func (m *model) claim(c Claim, res Result) string {
	s := m.sessions[c.ClientID]
	if s != nil && s.user != c.User {
		return "not yours"
	}
	if s != nil && (c.CleanStart || !s.stored) {
		m.end(c.ClientID, allTaken)
		s = nil
	}
	present := s != nil
	if s == nil {
		s = &modelSession{user: c.User, stored: c.Expiry > 0, inbound: map[uint16]uint64{}, slot: m.size}
		if n := len(m.free); n > 0 {
			s.slot, m.free = m.free[n-1], m.free[:n-1]
		} else {
			m.size++
		}
		m.sessions[c.ClientID] = s
	}
	if res.Claim.Epoch <= s.epoch {
		return "an epoch that rises (E1)"
	}
	if s.hasWill && s.attached && s.delay == 0 {
		m.fire(c.ClientID)
	}
	s.epoch, s.conn, s.attached, s.expiry = res.Claim.Epoch, c.Conn, true, c.Expiry
	s.inflight, s.maxQueue, s.dropOldest = max(int(c.Inflight), 1), c.MaxQueueMessages, c.DropOldest
	if s.inflightBytes = c.InflightBytes; s.inflightBytes == 0 {
		s.inflightBytes = DefaultLimits().InflightBytes
	}
	if s.hasWill = c.Will != nil; s.hasWill {
		s.will, s.delay = string(c.Will.Message.Payload), c.Will.Delay
	}
	var window []string
	for _, it := range s.window {
		if !it.done {
			window = append(window, it.String())
		}
	}
	var subs []string
	for _, sub := range s.subs {
		subs = append(subs, fmt.Sprint(sub.Filter, sub.Options, sub.RetainHandling))
	}
	d := fmt.Sprintf("present=%t next=%d inbound=%v window=%v subs=%v replays=%v", present, s.index+1, slices.Sorted(maps.Keys(s.inbound)), window, subs, s.replays)
	m.tell(c.ClientID, all)
	m.move(s)
	return d
}

func (m *model) enqueue(c Enqueue) string {
	msg := &c.Message
	if msg.Origin != 0 {
		key := [2]uint64{msg.Origin, msg.Seq}
		if m.seen[key] {
			return "known=true dropped=0"
		}
		m.seen[key] = true
	}
	dropped := 0
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		s := m.sessions[id]
		granted, rap, ids, ok := s.wants(msg.Topic, c.From == id)
		if !ok || msg.HasExpiry && msg.Expiry == 0 {
			continue
		}
		qos, retain := min(granted, msg.QoS), msg.Retain && rap
		if qos > 0 {
			dropped += m.append(s, msg, qos, retain, ids)
		} else if s.attached {
			m.push(s, &modelItem{payload: string(msg.Payload), retain: retain, ids: ids})
		}
	}
	for _, name := range m.wanting(msg.Topic) {
		dropped += m.share(name, msg)
	}
	return fmt.Sprintf("known=false dropped=%d", dropped)
}

// append queues a message, within the bound of what waits, and says how many
// queues were too full for it.
func (m *model) append(s *modelSession, msg *session.Message, qos mqtt.QoS, retain bool, ids []uint32) (dropped int) {
	s.forgetExpired(m.now)
	size := messageSize(msg.Append(nil, msg.Received))
	room := s.attached && len(s.waiting) == 0 && s.hasRoom(size)
	for !room && len(s.waiting) >= s.maxQueue {
		oldest := slices.IndexFunc(s.waiting, func(it *modelItem) bool { return it.gift == nil })
		if !s.dropOldest || oldest < 0 {
			return 1
		}
		s.waiting, dropped = slices.Delete(s.waiting, oldest, oldest+1), 1
	}
	s.waiting = append(s.waiting, &modelItem{
		payload: string(msg.Payload), qos: qos, retain: retain, ids: ids, deadline: m.deadline(msg), size: size,
	})
	m.move(s)
	return dropped
}

// move fills the committed window (S1).
func (m *model) move(s *modelSession) {
	s.forgetExpired(m.now)
	for s.attached && len(s.waiting) > 0 && s.hasRoom(s.waiting[0].size) {
		it := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.index++
		it.index = s.index
		s.window = append(s.window, it)
		m.push(s, it)
	}
}

func (m *model) push(s *modelSession, it *modelItem) {
	m.log = append(m.log, fmt.Sprintf("push to %d: %s", s.conn, it))
}

func (s *modelSession) hasRoom(size int) bool {
	held := 0
	for _, it := range s.window {
		if !it.done && !it.received {
			held += it.size
		}
	}
	return s.unacked() < s.inflight && (held == 0 || held+size <= s.inflightBytes)
}

func (s *modelSession) forgetExpired(now session.Time) {
	s.waiting = slices.DeleteFunc(s.waiting, func(it *modelItem) bool { return it.deadline != 0 && it.deadline <= now })
}

func (s *modelSession) unacked() (n int) {
	for _, it := range s.window {
		if !it.done {
			n++
		}
	}
	return n
}

func (m *model) ack(s *modelSession, a Ack) {
	for _, it := range s.window {
		switch {
		case it.index != a.Index || it.done:
		case a.Back:
			if it.gift != nil && !it.received {
				it.done = true
				m.back(it.gift)
			}
		case !a.Received:
			m.isDone(it)
			it.done = true
		case it.qos == 2:
			m.isDone(it)
			it.received = true
		}
	}
}

func (s *modelSession) low() uint64 {
	low := s.seq + 1
	for _, seq := range s.inbound {
		low = min(low, seq)
	}
	return low
}

func (s *modelSession) find(f router.Filter) int {
	return slices.IndexFunc(s.subs, func(o Subscription) bool { return o.Filter == f })
}

func (s *modelSession) replay(f router.Filter) *session.Replay {
	for i := range s.replays {
		if s.replays[i].Filter == f {
			return &s.replays[i]
		}
	}
	return nil
}

func (s *modelSession) endReplay(f router.Filter) {
	s.replays = slices.DeleteFunc(s.replays, func(r session.Replay) bool { return r.Filter == f })
}

// wants is what all matching subscriptions together ask for.
func (s *modelSession) wants(to router.Topic, own bool) (qos mqtt.QoS, rap bool, ids []uint32, ok bool) {
	for _, sub := range s.subs {
		if sub.Filter.Group() != "" || !sub.Filter.Matches(to) || own && sub.Options.NoLocal {
			continue
		}
		ok = true
		qos, rap = max(qos, mqtt.QoS(sub.Options.QoS)), rap || sub.Options.RetainAsPublished
		if sub.Options.ID != 0 {
			ids = append(ids, sub.Options.ID)
		}
	}
	slices.Sort(ids)
	return qos, rap, ids, ok
}

func (it *modelItem) String() string {
	if it.received {
		return fmt.Sprintf("%d received", it.index)
	}
	return describe(it.index, it.payload, it.qos, it.retain, it.ids)
}

func describe(index uint64, payload string, qos mqtt.QoS, retain bool, ids []uint32) string {
	return fmt.Sprintf("%d %s qos=%d retain=%t ids=%v", index, payload, qos, retain, ids)
}

// describeResult is the store's half of model.apply's answer.
func describeResult(c Command, r Result) string {
	switch {
	case errors.Is(r.Err, ErrFenced):
		return "fenced"
	case errors.Is(r.Err, ErrNotYours):
		return "not yours"
	}
	switch c.(type) {
	case Claim:
		var window, subs []string
		for _, w := range r.Claim.Window {
			if w.Received {
				window = append(window, fmt.Sprintf("%d received", w.Index))
			} else {
				window = append(window, describe(w.Index, string(w.Message.Payload), w.QoS, w.Retain, w.IDs))
			}
		}
		for _, sub := range r.Claim.Subscriptions {
			subs = append(subs, fmt.Sprint(sub.Filter, sub.Options, sub.RetainHandling))
		}
		slices.Sort(r.Claim.Inbound)
		return fmt.Sprintf("present=%t next=%d inbound=%v window=%v subs=%v replays=%v", r.Claim.Present, r.Claim.Next, r.Claim.Inbound, window, subs, r.Claim.Replays)
	case Delete, Retain:
		return fmt.Sprintf("known=%t", r.Known)
	case Subscribe, Unsubscribe:
		return fmt.Sprint(r.Existed)
	case Enqueue:
		return fmt.Sprintf("known=%t dropped=%d", r.Known, r.Dropped)
	case EnqueueFor:
		return fmt.Sprintf("dropped=%d", r.Dropped)
	case Share:
		return fmt.Sprintf("known=%t dropped=%d", r.Known, r.Dropped)
	case Receive:
		return fmt.Sprintf("seq=%d known=%t low=%d", r.Seq, r.Known, r.Low)
	case Release:
		return fmt.Sprintf("known=%t low=%d", r.Known, r.Low)
	}
	return ""
}

// logger is an Owner that writes down what it is told, as the model does.
type logger struct{ log []string }

func (l *logger) Evict(_ router.Subscriber, _ string, _ session.Epoch, done func()) { done() }
func (l *logger) Push(conn router.Subscriber, _ session.Epoch, ds []Delivery) {
	for _, d := range ds {
		l.log = append(l.log, fmt.Sprintf("push to %d: %s", conn,
			describe(d.Index, string(d.Message.Payload), d.QoS, d.Retain, d.IDs)))
	}
}
func (l *logger) Publish(m *session.Message, clientID, _ string, done func()) bool {
	l.log = append(l.log, fmt.Sprintf("will of %s: %s", clientID, m.Payload))
	done()
	return true
}
func (l *logger) Forget(uint64)                                       {}
func (l *logger) Ended(router.Subscriber, session.Epoch, mqtt.Reason) {}

// manual is a shard that a test drives by hand, with a clock of its own and a
// second replica that applies the same log.
type manual struct {
	*shard
	solo    *solo
	now     session.Time
	owner   *logger
	replica *state
	holds   bool // a chore under way is not waited for
}

func newManual(o Options) *manual {
	m := &manual{owner: &logger{}, now: 1000e9, replica: newState(0)}
	s := &Store{shards: make([]*shard, 1)}
	o.Clock = func() session.Time { return m.now }
	o.Shards, o.MaxTakeovers = 1, 0
	if err := s.openScratches(&o); err != nil {
		panic(err)
	}
	m.shard = newShard(0, &o, world{alone{m.owner}, m.owner}, s, newMetrics(nil, s))
	s.shards[0] = m.shard
	m.solo = newSolo(m.shard)
	m.solo.commit = func(entry []byte) {
		m.replica.apply(slices.Clone(entry), nil)
		m.replica.fx.reset()
	}
	m.settle()
	return m
}

// settle works until nothing is left to do.
func (m *manual) settle() {
	for {
		m.take()
		m.work()
		if m.spill(); !m.holds && m.st.messages.scratch != nil && m.st.messages.scratch.busy {
			m.spilled(<-m.chores())
			continue
		}
		m.inbox.Lock()
		idle := len(m.inbox.items) == 0
		m.inbox.Unlock()
		if idle {
			return
		}
	}
}

func (m *manual) do(c Command) (r Result) {
	m.submit(c, func(res Result) { r = res })
	m.settle()
	return r
}

// restart replaces the replica by one restored from a snapshot of it.
func (m *manual) restart() error {
	var b bytes.Buffer
	if err := m.replica.snapshot(&b); err != nil {
		return err
	}
	st, err := m.store.restore(0, &b)
	if err == nil {
		m.replica.messages.scratch.close()
		m.replica = st
	}
	return err
}

// inputs makes random commands for a few clients, topics and filters.
type inputs struct {
	*rand.Rand
	n      int
	epochs map[string][]session.Epoch // that clients were given, the latest last
	made   []session.Message          // QoS 2 messages with an origin
	latest uint64                     // index of a command that was answered
	model  *model                     // whose windows are acknowledged, if any
}

var (
	modelTopics  = []string{"a", "a/b", "a/b/c", "b", "$x", "s/1", "s/1", "s/2"}
	modelFilters = []string{"a", "a/b", "a/+", "a/#", "#", "+", "b", "$share/g/s/#", "$share/h/+/1", "$share/g/s/#", "$x/#"}
	modelGroups  = []string{"$share/g/s/#", "$share/h/+/1"}
)

func (in *inputs) client() string { return string(rune('p' + in.IntN(5))) }

// epoch is most often the latest of a client.
func (in *inputs) epoch(id string) session.Epoch {
	es := in.epochs[id]
	switch {
	case len(es) == 0:
		return 1
	case in.IntN(10) == 0:
		return es[in.IntN(len(es))]
	}
	return es[len(es)-1]
}

// index is most often one that a client has not acknowledged.
func (in *inputs) index(id string) uint64 {
	if in.model != nil && in.IntN(8) > 0 {
		if s := in.model.sessions[id]; s != nil && len(s.window) > 0 {
			return s.window[len(s.window)-1-in.IntN(min(len(s.window), 6))].index
		}
	}
	return uint64(1 + in.IntN(20))
}

func (in *inputs) message(now session.Time) session.Message {
	in.n++
	m := publish(modelTopics[in.IntN(len(modelTopics))], fmt.Sprint("m", in.n), mqtt.QoS(1+in.IntN(2)))
	m.Retain, m.Received = in.IntN(3) == 0, now
	// When the store lets go of an expired message is its own affair; the model
	// does so at once, which members of a group would notice.
	if m.Topic.String()[0] != 's' && in.IntN(2) == 0 {
		m.HasExpiry, m.Expiry = true, uint32(in.IntN(6))
	}
	return m
}

func (in *inputs) command(now session.Time) Command {
	id := in.client()
	e := in.epoch(id)
	switch in.IntN(26) {
	case 0, 1, 2:
		c := Claim{
			ClientID: id, User: id, Conn: router.Subscriber(in.Uint32()), CleanStart: in.IntN(6) == 0,
			Expiry: []uint32{0, 5, 20, session.Forever}[in.IntN(4)], Inflight: uint16(in.IntN(5)),
			MaxQueueMessages: 1 + in.IntN(4), MaxQueueBytes: 1 << 20, InflightBytes: []int{0, 170, 300}[in.IntN(3)], DropOldest: in.IntN(2) == 0,
		}
		if in.IntN(10) == 0 {
			c.User = "mallory"
		}
		if in.IntN(2) == 0 {
			in.n++
			c.Will = &Will{Message: publish("w", fmt.Sprint("w", in.n), 1), Delay: []uint32{0, 3, 30}[in.IntN(3)]}
		}
		return c
	case 3, 4:
		return Detach{
			ClientID: id, Epoch: e, Fire: in.IntN(2) == 0, HasExpiry: in.IntN(5) == 0,
			Expiry: []uint32{0, 10}[in.IntN(2)], HasTaken: in.IntN(2) == 0, Taken: uint64(in.IntN(6)),
		}
	case 5, 6, 7:
		c := Subscribe{ClientID: id, Epoch: e}
		for range 1 + in.IntN(2) {
			c.Filters = append(c.Filters, Subscription{
				Filter: filter(modelFilters[in.IntN(len(modelFilters))]),
				Options: router.Options{
					QoS: uint8(in.IntN(3)), NoLocal: in.IntN(4) == 0, RetainAsPublished: in.IntN(2) == 0, ID: uint32(in.IntN(4)),
				},
				RetainHandling: uint8(in.IntN(3)),
			})
		}
		return c
	case 8:
		return Unsubscribe{ClientID: id, Epoch: e, Filters: []router.Filter{filter(modelFilters[in.IntN(len(modelFilters))])}}
	case 9, 10, 11, 12, 13:
		m := in.message(now)
		if in.IntN(3) == 0 {
			m.QoS, m.Origin, m.Seq = 2, 7, uint64(in.n)
			in.made = append(in.made, m)
		} else if len(in.made) > 0 && in.IntN(6) == 0 {
			m = in.made[in.IntN(len(in.made))] // the cluster's resend
			m.Received = now
		}
		return Enqueue{From: id, Message: m}
	case 14:
		m := in.message(now)
		m.QoS, m.HasExpiry = 0, false
		return Transient{From: id, Message: m}
	case 15:
		m := in.message(now)
		c := EnqueueFor{ClientID: id, Epoch: e, Delivery: Delivery{
			Message: m, QoS: mqtt.QoS(in.IntN(3)), Retain: true, IDs: []uint32{9}[:in.IntN(2)],
		}}
		if in.IntN(2) == 0 {
			c.Replay, c.Shard = filter(modelFilters[in.IntN(len(modelFilters))]), router.ShardID(in.IntN(3))
		}
		return c
	case 16, 17, 18:
		var c Acks
		for range 1 + in.IntN(4) {
			c.Items = append(c.Items, Ack{ClientID: id, Epoch: e, Index: in.index(id), Received: in.IntN(3) == 0, Back: in.IntN(8) == 0})
			if in.IntN(3) == 0 {
				id = in.client()
				e = in.epoch(id)
			}
		}
		return c
	case 19, 20:
		return Receive{ClientID: id, Epoch: e, PacketID: uint16(1 + in.IntN(4))}
	case 21:
		return Release{ClientID: id, Epoch: e, PacketID: uint16(1 + in.IntN(4))}
	case 22:
		m := in.message(now)
		m.HasExpiry = m.HasExpiry && m.Expiry > 0
		if in.IntN(4) == 0 {
			m.Payload = nil
		}
		if in.IntN(3) == 0 {
			m.QoS, m.Origin, m.Seq = 2, 7, uint64(in.n)
			in.made = append(in.made, m)
		} else if len(in.made) > 0 && in.IntN(3) == 0 {
			m = in.made[in.IntN(len(in.made))]
			m.Received = now
			m.HasExpiry = m.HasExpiry && m.Expiry > 0
		}
		return Retain{Message: m}
	case 23:
		c := Share{Group: filter(modelGroups[in.IntN(2)]), Message: publish("s/1", fmt.Sprint("m", in.n), 1)}
		in.n++
		return c
	case 24:
		return Member{
			Group: filter(modelGroups[in.IntN(2)]), ClientID: id, AsOf: in.latest - min(in.latest, uint64(in.IntN(3))), Stored: in.IntN(4) == 0,
			Options: router.Options{QoS: uint8(in.IntN(3)), ID: uint32(in.IntN(4))},
		}
	default:
		switch in.IntN(8) {
		case 0:
		case 1, 2, 3:
			return Replaying{
				ClientID: id, Epoch: e, Filter: filter(modelFilters[in.IntN(len(modelFilters))]),
				Cuts: []session.Cut{{Shard: 0, Index: in.Uint64() >> 40}, {Shard: 1, Index: 7}}[:in.IntN(3)], Done: in.IntN(2) == 0,
			}
		default:
			return Release{ClientID: id, Epoch: e, PacketID: 1}
		}
		return Delete{ClientID: id}
	}
}

// runModel drives a shard and the model with the same random commands, and
// returns the first difference.
// With a directory, the shard spills to it whatever it can.
func runModel(seed uint64, steps int, scratch string) error {
	in := &inputs{Rand: rand.New(rand.NewPCG(seed, 0)), epochs: map[string][]session.Epoch{}}
	o := DefaultOptions()
	o.Routes, o.Limits.QueueMessages = router.NewTable(), 8
	o.ScratchDir, o.minSpill = scratch, 1
	sh := newManual(o)
	defer func() {
		sh.st.messages.scratch.close()
		sh.replica.messages.scratch.close()
		sh.store.running.Wait()
	}()
	m := newModel(sh.st.now)
	in.model, m.queue = m, o.Limits.QueueMessages
	for step := range steps {
		if in.IntN(5) == 0 {
			sh.now += session.Seconds(uint32(1 + in.IntN(8)))
			sh.settle() // nothing but what is due
			m.advance(sh.shard.now())
			m.settle()
		}
		c := in.command(sh.now)
		res := sh.do(c)
		in.latest = res.Index
		want := m.apply(c, res)
		m.settle()
		got := describeResult(c, res)
		if got != want {
			return fmt.Errorf("step %d: %#v: %s, want %s", step, c, got, want)
		}
		if claim, ok := c.(Claim); ok && res.Err == nil {
			in.epochs[claim.ClientID] = append(in.epochs[claim.ClientID], res.Claim.Epoch)
		}
		if err := sameLog(sh.owner.log, m.log); err != nil {
			return fmt.Errorf("step %d: %#v: %w", step, c, err)
		}
		sh.owner.log, m.log = nil, nil
		if err := sh.st.check(); err != nil {
			return fmt.Errorf("step %d: %#v: %w", step, c, err)
		}
		if err := errors.Join(sameRetained(sh, m), sameRoutes(sh, o.Routes)); err != nil {
			return fmt.Errorf("step %d: %#v: %w", step, c, err)
		}
		if in.IntN(20) == 0 {
			if err := sh.restart(); err != nil {
				return fmt.Errorf("step %d: restore: %w", step, err)
			}
		}
		if a, b := sh.st.hash(), sh.replica.hash(); a != b {
			return fmt.Errorf("step %d: %#v: replicas part (D6)", step, c)
		}
	}
	return nil
}

// sameLog compares what happened, in order for each connection.
func sameLog(got, want []string) error {
	byConn := func(a, b string) int {
		return cmp.Compare(strings.SplitN(a, ":", 2)[0], strings.SplitN(b, ":", 2)[0])
	}
	slices.SortStableFunc(got, byConn)
	slices.SortStableFunc(want, byConn)
	if !slices.Equal(got, want) {
		return fmt.Errorf("told the owner %q, want %q", got, want)
	}
	return nil
}

// sameRoutes compares what the node's table leads to with what the shard wants.
func sameRoutes(sh *manual, table *router.Table) error {
	var ms router.Matches
	for _, name := range modelTopics {
		table.Match(topic(name), 0, &ms)
		wanted := len(sh.st.subscriptions.match(topic(name), 0)) > 0 || len(sh.st.subscriptions.shared) > 0
		if wanted != (len(ms.Shards) == 1) || table.Version() != 0 {
			return fmt.Errorf("topic %s leads to shards %v, wanted %t", name, ms.Shards, wanted)
		}
	}
	return nil
}

func sameRetained(sh *manual, m *model) error {
	var got, want []string
	for q, more := (RetainedQuery{Filter: filter("#")}), true; more; {
		p := sh.reading.Load().page(&q, sh.shard)
		for i := range p.Messages {
			m := &p.Messages[i].Message
			got = append(got, m.Topic.String()+" "+string(m.Payload))
		}
		q.Cursor, more = p.Cursor, p.More
	}
	for to, r := range m.retained {
		if to[0] != '$' && (r.deadline == 0 || r.deadline > m.now) {
			want = append(want, to+" "+r.payload)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("retained %q, want %q", got, want)
	}
	return nil
}

func TestModel(t *testing.T) {
	for seed := range uint64(30) {
		if err := runModel(seed, 400, ""); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
