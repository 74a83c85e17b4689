package raftstore

import (
	"encoding/binary"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// This file has the body of each command, writer and reader side by side. What a
// reader returns borrows the entry, strings and filters excepted.

// appendMessage writes m's packed form, to the body's end.
func appendMessage(b []byte, m *session.Message, now func() session.Time) []byte {
	at := m.Received
	if m.HasExpiry {
		at = now()
	}
	return m.Append(b, at)
}

// message reads a packed message that fills the rest of the body; it counts as
// received at now. packed is the form itself.
func (r *reader) message(m *session.Message, now session.Time) (packed []byte) {
	packed = r.b
	if r.err != nil {
		return nil
	}
	rest, err := m.Parse(packed, now)
	if err != nil || len(rest) > 0 {
		r.fail()
		return nil
	}
	r.b = nil
	return packed
}

const (
	claimClean = 1 << iota
	claimDropOldest
	claimWill
	claimSole
)

func (c Claim) encode(b []byte, _ func() session.Time) (kind, []byte) {
	flags := byte(0)
	if c.CleanStart {
		flags |= claimClean
	}
	if c.DropOldest {
		flags |= claimDropOldest
	}
	if c.Will != nil {
		flags |= claimWill
	}
	if c.Sole {
		flags |= claimSole
	}
	b = appendBytes(b, c.ClientID)
	b = appendBytes(b, c.User)
	for _, v := range [...]uint64{uint64(c.by.node), c.by.start, c.by.number, c.by.low, c.by.generation} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendUvarint(b, uint64(c.Conn))
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(c.Expiry))
	b = binary.AppendUvarint(b, uint64(c.Inflight))
	b = binary.AppendUvarint(b, uint64(max(c.MaxQueueMessages, 0)))
	b = binary.AppendUvarint(b, uint64(max(c.MaxQueueBytes, 0)))
	b = binary.AppendUvarint(b, uint64(max(c.InflightBytes, 0)))
	if c.Will != nil {
		b = binary.AppendUvarint(b, uint64(c.Will.Delay))
		m := &c.Will.Message
		b = m.Append(b, m.Received) // its expiry begins when it fires
	}
	return kindClaim, b
}

// claim is a Claim as Apply sees it.
type claim struct {
	clientID, user []byte
	claimant
	conn  router.Subscriber
	clean bool
	sole  bool
	terms session.Terms
}

func (r *reader) claim() (c claim) {
	c.clientID, c.user = r.bytes(), r.bytes()
	c.claimant = claimant{node: r.node(), start: r.uvarint(), number: r.uvarint(), low: r.uvarint(), generation: r.uvarint()}
	c.conn = router.Subscriber(r.uvarint())
	flags := r.byte()
	c.clean, c.sole = flags&claimClean != 0, flags&claimSole != 0
	c.terms = session.Terms{
		DropOldest:       flags&claimDropOldest != 0,
		Expiry:           uint32(r.uvarint()),
		Inflight:         uint16(r.uvarint()),
		MaxQueueMessages: clamp32(r.uvarint()),
		MaxQueueBytes:    clamp32(r.uvarint()),
		InflightBytes:    clamp32(r.uvarint()),
	}
	if flags&claimWill != 0 {
		w := &session.Will{Delay: uint32(r.uvarint())}
		var m session.Message
		w.Packed = append([]byte(nil), r.message(&m, 0)...)
		c.terms.Will = w
	}
	return c
}

func clamp32(v uint64) uint32 { return uint32(min(v, 1<<32-1)) }

const (
	detachFire = 1 << iota
	detachExpiry
	detachTaken
)

func (c Detach) encode(b []byte, _ func() session.Time) (kind, []byte) {
	flags := byte(0)
	if c.Fire {
		flags |= detachFire
	}
	if c.HasExpiry {
		flags |= detachExpiry
	}
	if c.HasTaken {
		flags |= detachTaken
	}
	b = appendOwner(b, c.ClientID, c.Epoch)
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(c.Expiry))
	if c.HasTaken {
		b = binary.AppendUvarint(b, c.Taken)
	}
	return kindDetach, b
}

// detach reads what follows the owner.
func (r *reader) detach() (d Detach) {
	flags := r.byte()
	d.Fire, d.HasExpiry, d.HasTaken = flags&detachFire != 0, flags&detachExpiry != 0, flags&detachTaken != 0
	d.Expiry = uint32(r.uvarint())
	if d.HasTaken {
		d.Taken = r.uvarint()
	}
	return d
}

// appendOwner begins the body of every command that writes to a session.
func appendOwner(b []byte, clientID string, e session.Epoch) []byte {
	return binary.AppendUvarint(appendBytes(b, clientID), uint64(e))
}

func (r *reader) owner() (clientID []byte, e session.Epoch) {
	return r.bytes(), session.Epoch(r.uvarint())
}

const (
	subNoLocal = 1 << (2 + iota) // above the QoS
	subRAP
	subHandling // two bits
)

func (c Subscribe) encode(b []byte, _ func() session.Time) (kind, []byte) {
	b = appendOwner(b, c.ClientID, c.Epoch)
	b = binary.AppendUvarint(b, uint64(len(c.Filters)))
	for i := range c.Filters {
		b = appendSubscription(b, &c.Filters[i])
	}
	return kindSubscribe, b
}

func appendSubscription(b []byte, s *Subscription) []byte {
	opt := s.Options.QoS&3 | s.RetainHandling&3*subHandling
	if s.Options.NoLocal {
		opt |= subNoLocal
	}
	if s.Options.RetainAsPublished {
		opt |= subRAP
	}
	b = append(appendBytes(b, s.Filter.String()), opt)
	return binary.AppendUvarint(b, uint64(s.Options.ID))
}

func (r *reader) subscription() (s Subscription) {
	s.Filter = r.filter()
	opt := r.byte()
	s.Options = router.Options{
		QoS: opt & 3, NoLocal: opt&subNoLocal != 0, RetainAsPublished: opt&subRAP != 0,
		ID: uint32(r.uvarint()),
	}
	s.RetainHandling = opt / subHandling & 3
	if s.Options.QoS > 2 {
		r.fail()
	}
	return s
}

func (r *reader) filter() router.Filter {
	f, err := router.ParseFilter(r.bytes())
	if err != nil {
		r.fail()
	}
	return f
}

func (c Unsubscribe) encode(b []byte, _ func() session.Time) (kind, []byte) {
	b = appendOwner(b, c.ClientID, c.Epoch)
	b = binary.AppendUvarint(b, uint64(len(c.Filters)))
	for _, f := range c.Filters {
		b = appendBytes(b, f.String())
	}
	return kindUnsubscribe, b
}

func (c Enqueue) encode(b []byte, now func() session.Time) (kind, []byte) {
	return kindEnqueue, appendMessage(appendBytes(b, c.From), &c.Message, now)
}

func (c Transient) encode(b []byte, now func() session.Time) (kind, []byte) {
	b = appendBytes(appendBytes(b, c.From), c.To)
	b = appendIDs(appendBool(b, c.Retain), c.IDs)
	return kindTransient, appendMessage(b, &c.Message, now)
}

// transient reads the head of a Transient, up to its message.
func (r *reader) transient() (from, to []byte, retain bool, ids []uint32) {
	return r.bytes(), r.bytes(), r.bool(), r.ids()
}

func (c EnqueueFor) encode(b []byte, now func() session.Time) (kind, []byte) {
	d := &c.Delivery
	flags := byte(d.QoS)
	if c.Replay != (router.Filter{}) {
		flags |= enqueueReplay
	}
	b = appendOwner(b, c.ClientID, c.Epoch)
	b = appendBool(append(b, flags), d.Retain)
	b = appendIDs(b, d.IDs)
	if flags&enqueueReplay != 0 {
		b = appendBytes(b, c.Replay.String())
		b = binary.AppendUvarint(b, uint64(c.Shard))
	}
	return kindEnqueueFor, appendMessage(b, &d.Message, now)
}

const enqueueReplay = 0x04 // above the QoS

// delivery reads the head of an EnqueueFor, up to its message.
func (r *reader) delivery() (c EnqueueFor) {
	flags := r.byte()
	d := &c.Delivery
	d.QoS, d.Retain = mqtt.QoS(flags&3), r.bool()
	d.IDs = r.ids()
	if flags&enqueueReplay != 0 {
		c.Replay, c.Shard = r.filter(), router.ShardID(r.uvarint())
	}
	if d.QoS > 2 || flags > enqueueReplay|3 {
		r.fail()
	}
	return c
}

func (c Replaying) encode(b []byte, _ func() session.Time) (kind, []byte) {
	b = appendOwner(b, c.ClientID, c.Epoch)
	b = appendBytes(b, c.Filter.String())
	return kindReplaying, session.AppendCuts(appendBool(b, c.Done), c.Cuts)
}

func (r *reader) cuts() []session.Cut {
	cuts, rest, ok := session.ParseCuts(r.b)
	if !ok {
		r.fail()
		return nil
	}
	r.b = rest
	return cuts
}

// appendIDs writes the subscription identifiers of a delivery.
func appendIDs(b []byte, ids []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func (r *reader) ids() (ids []uint32) {
	if n := r.count(1); n > 0 {
		ids = make([]uint32, n)
		for i := range ids {
			ids[i] = uint32(r.uvarint())
		}
	}
	return ids
}

func (c Acks) encode(b []byte, _ func() session.Time) (kind, []byte) {
	for i := range c.Items {
		a := &c.Items[i]
		tag := byte(0)
		if a.Back {
			tag |= ackBack
		}
		if i > 0 && a.ClientID == c.Items[i-1].ClientID && a.Epoch == c.Items[i-1].Epoch {
			b = append(b, tag|ackSame)
		} else {
			b = appendOwner(append(b, tag), a.ClientID, a.Epoch)
		}
		v := a.Index << 1
		if a.Received {
			v |= 1
		}
		b = binary.AppendUvarint(b, v)
	}
	return kindAcks, b
}

const (
	ackSame = 1 << iota // of the same session as the one before; else it names its own
	ackBack
)

func (c Receive) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindReceive, appendPacketID(appendOwner(b, c.ClientID, c.Epoch), c.PacketID)
}

func (c Release) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindRelease, appendPacketID(appendOwner(b, c.ClientID, c.Epoch), c.PacketID)
}

func appendPacketID(b []byte, id uint16) []byte { return binary.AppendUvarint(b, uint64(id)) }

func (r *reader) packetID() uint16 {
	id := r.uvarint()
	if id == 0 || id > 0xFFFF {
		r.fail()
	}
	return uint16(id)
}

func (c Retain) encode(b []byte, now func() session.Time) (kind, []byte) {
	return kindRetain, appendMessage(b, &c.Message, now)
}

func (c Delete) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindDelete, appendBytes(b, c.ClientID)
}

// forget has a shard drop what it remembers of a publisher whose session ended.
type forget struct{ origin uint64 }

func (c forget) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindForget, binary.AppendUvarint(b, c.origin)
}

// lost has a shard end what a node's connections own that claimed it in that
// generation or before.
type lost struct {
	node       Node
	generation uint64
}

func (c lost) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindLost, binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.node)), c.generation)
}

// published has a shard forget a will that is on its way.
type published struct{ number uint64 }

func (c published) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindPublished, binary.AppendUvarint(b, c.number)
}

func (c Member) encode(b []byte, _ func() session.Time) (kind, []byte) {
	b = appendBytes(appendBytes(b, c.Group.String()), c.ClientID)
	b = binary.AppendUvarint(b, uint64(c.Shard))
	n := news{asOf: c.AsOf, subscribed: true, stored: c.Stored, options: c.Options}
	return kindMember, n.encode(b)
}

// member reads a Member as the letter that says the same.
func (r *reader) member() (l letter, sh router.ShardID) {
	l.group, l.clientID, sh = r.group(), r.string(), r.shardID()
	l.news = r.news()
	if !l.news.subscribed {
		r.fail()
	}
	return l, sh
}

func (c Share) encode(b []byte, now func() session.Time) (kind, []byte) {
	return kindShare, appendMessage(appendBytes(b, c.Group.String()), &c.Message, now)
}

// Limits bound one shard. They are part of the replicated state, because Apply
// may not depend on a node's configuration (D6): a leader whose own differ says
// so in the log.
type Limits struct {
	Sessions      int // sessions and claims
	QueuedBytes   int // messages queued, each counted once; beyond it the newest is dropped, whatever a queue's policy
	Retained      int // topics with a retained message
	RetainedBytes int
	QueueMessages int // of one session, where its Claim does not say
	QueueBytes    int
	InflightBytes int // of one session's committed window, likewise
}

func (c Limits) encode(b []byte, _ func() session.Time) (kind, []byte) {
	for _, v := range [...]int{c.Sessions, c.QueuedBytes, c.Retained, c.RetainedBytes, c.QueueMessages, c.QueueBytes, c.InflightBytes} {
		b = binary.AppendUvarint(b, uint64(max(v, 0)))
	}
	return kindLimits, b
}

func (r *reader) limits() (c Limits) {
	for _, v := range [...]*int{&c.Sessions, &c.QueuedBytes, &c.Retained, &c.RetainedBytes, &c.QueueMessages, &c.QueueBytes, &c.InflightBytes} {
		*v = int(min(r.uvarint(), 1<<62))
	}
	return c
}
