package session

import "dunlin/router"

// Forever is the expiry, in seconds, of a session that never expires.
const Forever = 0xFFFF_FFFF

// Never is the time of what has no deadline. Durable never sees the true time 0.
const Never Time = 0

// Bodies is the table that holds the messages a Durable refers to, each stored
// once however many sessions wait for it. Durable retains what it keeps and
// releases what it lets go.
type Bodies interface {
	Size(ref uint32) int      // bytes that the message counts against a queue's bound
	Deadline(ref uint32) Time // when it expires; Never if it does not
	Retain(ref uint32)
	Release(ref uint32)
}

// Terms are what a connection brings to the session it claims.
type Terms struct {
	Expiry           uint32 // seconds after the connection; 0 ends with it, Forever never
	Inflight         uint16 // bound of the committed window: Receive Maximum and slack
	InflightBytes    uint32 // bound of the messages it holds; one enters an empty window whatever its size
	MaxQueueMessages uint32 // bound of what waits behind the window
	MaxQueueBytes    uint32
	DropOldest       bool // overflow policy; else the newest is dropped (S5)
	Will             *Will
}

// Will is a will as the session keeps it: Packed is a Message in packed form,
// never written again.
type Will struct {
	Packed []byte
	Delay  uint32 // seconds
}

// Durable is the half of a session that outlives its connections: who owns it,
// what it subscribes to, what waits for it and how far the handshakes are. It is
// a pure machine, called by the shard's Apply; all its times are shard time (T2).
//
// Invariants, verified by Check:
//
//  1. the indices of the committed window are consecutive from base, at most
//     maxSpan of them (S1);
//  2. the window's first entry is not done: it would have been let go;
//  3. unacked counts the window's entries that are not done;
//  4. done entries, and those with PUBREC committed, hold no message (S2); all
//     others hold one that Bodies knows;
//  5. what waits is neither done nor received, and queued sums up its sizes;
//  6. inbound identifiers differ, and their numbers rise, up to seq (R1);
//  7. filters differ;
//  8. an entry with several subscription identifiers has its list, and each list
//     its entry;
//  9. held sums up the sizes of the messages that the window holds (P10);
//  10. replays are of subscriptions that there are, one of each at most.
type Durable struct {
	epoch    Epoch
	origin   uint64 // publisher identity of this incarnation
	seq      uint64 // number of the latest inbound QoS 2 message or will (R1)
	detached Time   // when the connection ended
	will     *Will
	out      *outbound  // nil until something was queued
	inbound  *[]inbound // QoS 2 identifiers that await PUBREL, rising by seq; nil for none
	subs     string     // packed subscriptions
	replays  *[]Replay  // on their way, by subscription; nil for none
	terms
}

// terms is Terms without the will, and what fits beside it: a million claims
// are a million of these.
type terms struct {
	expiry      uint32
	maxMessages uint32
	maxBytes    uint32
	maxHeld     uint32
	inflight    uint16
	flags       uint8
}

const (
	isAttached uint8 = 1 << iota
	isStored
	dropsOldest
	allDurableFlags = 1<<iota - 1
)

func (t *terms) is(flag uint8) bool { return t.flags&flag != 0 }

func (t *terms) set(flag uint8, on bool) {
	t.flags &^= flag
	if on {
		t.flags |= flag
	}
}

// NewDurable begins an incarnation; origin must never name another.
func NewDurable(origin uint64) Durable { return Durable{origin: origin} }

// Epoch is that of the latest claim, Origin the incarnation's publisher identity.
func (d *Durable) Epoch() Epoch   { return d.epoch }
func (d *Durable) Origin() uint64 { return d.origin }

// Attached says that the latest claim's connection is there.
func (d *Durable) Attached() bool { return d.is(isAttached) }

// Stored says that the session may outlive its connection, because it was made
// with an expiry above 0. Others are the claim of an identifier, and end with
// the connection whatever it says then.
func (d *Durable) Stored() bool { return d.is(isStored) }

// Expiry is the session expiry interval in seconds.
func (d *Durable) Expiry() uint32 { return d.expiry }

// Owns says whether a write under e is the owner's (E1).
func (d *Durable) Owns(e Epoch) bool { return d.Attached() && d.epoch == e }

// Attach gives the session to a new connection, under an epoch above all before
// it. A will that the session still held is returned if it fires now: its delay
// was zero and its connection is ended by this one; a longer delay was cut short
// by the resumption (P6).
func (d *Durable) Attach(e Epoch, t Terms) (fires *Will) {
	if e <= d.epoch {
		panic("session: epoch does not rise")
	}
	if d.Attached() && d.will != nil && d.will.Delay == 0 {
		fires = d.will
	}
	first := d.epoch == 0
	d.epoch, d.detached, d.will = e, Never, t.Will
	d.expiry, d.inflight = t.Expiry, max(t.Inflight, 1)
	d.maxMessages, d.maxBytes, d.maxHeld = t.MaxQueueMessages, t.MaxQueueBytes, t.InflightBytes
	d.set(isAttached, true)
	d.set(dropsOldest, t.DropOldest)
	if first {
		d.set(isStored, t.Expiry > 0)
	}
	return fires
}

// Detach ends the connection. fire says that the will is due [MQTT-3.1.2-8],
// after its delay; without it the will is forgotten [MQTT-3.14.4-3]. With expiry
// 0, or if it was a mere claim, the session has ended, and the caller calls End.
func (d *Durable) Detach(fire bool, expiry uint32, now Time) (fires *Will, ended bool) {
	d.set(isAttached, false)
	d.detached, d.expiry = now, expiry
	d.out.rest()
	if !fire {
		d.will = nil
	}
	if expiry == 0 || !d.Stored() {
		return nil, true
	}
	if d.will != nil && d.will.Delay == 0 {
		fires, d.will = d.will, nil
	}
	return fires, false
}

// End gives up all that the session holds. A will it still had fires with the
// session's end, whatever its delay [MQTT-3.1.3-9].
func (d *Durable) End(b Bodies) (fires *Will) {
	fires = d.will
	d.out.letAllGo(b)
	*d = Durable{epoch: d.epoch, origin: d.origin, seq: d.seq}
	return fires
}

// Due is the next moment at which Expire has something to do, or Never.
func (d *Durable) Due() Time {
	due := d.out.nextExpiry()
	if d.Attached() {
		return due
	}
	if d.expiry != Forever {
		due = earlier(due, d.detached+Seconds(d.expiry))
	}
	if d.will != nil {
		due = earlier(due, d.detached+Seconds(d.will.Delay))
	}
	return due
}

// Expire does what is due at now: the will, the session's end (the caller calls
// End, which gives the will), and messages that expired waiting, whose number it
// returns.
func (d *Durable) Expire(now Time, b Bodies) (fires *Will, ended bool, dropped int) {
	if !d.Attached() {
		if d.expiry != Forever && now >= d.detached+Seconds(d.expiry) {
			return nil, true, 0
		}
		if d.will != nil && now >= d.detached+Seconds(d.will.Delay) {
			fires, d.will = d.will, nil
		}
	}
	if t := d.out.nextExpiry(); t != Never && now >= t {
		dropped = d.out.purge(now, b)
	}
	return fires, false, dropped
}

// NextSeq numbers the incarnation's next message: a QoS 2 publish or its will.
func (d *Durable) NextSeq() uint64 {
	d.seq++
	return d.seq
}

// SkipNumbers leaves out n numbers: others may have seen more of them than this
// session has given.
func (d *Durable) SkipNumbers(n uint64) { d.seq += n }

// HasPublished says that messages with the session's Origin may be about.
func (d *Durable) HasPublished() bool { return d.seq > 0 }

// Subscribes says whether the session has any subscription.
func (d *Durable) Subscribes() bool { return len(d.subs) > 0 }

// Bare says that a connection owns the session, and that it holds nothing: no will,
// subscription or message, and no identifier that awaits PUBREL. What Append writes of
// such a one is all of it, and has no reference.
func (d *Durable) Bare() bool {
	return d.Attached() && d.will == nil && d.out == nil && d.inbound == nil && d.subs == "" && d.replays == nil
}

// Seconds is n seconds of Time.
func Seconds(n uint32) Time { return Time(n) * 1e9 }

func earlier(a, b Time) Time {
	if a == Never || b != Never && b < a {
		return b
	}
	return a
}

// Subscription is one of a session's subscriptions.
type Subscription struct {
	Filter         router.Filter
	Options        router.Options
	RetainHandling uint8
}
