package session

import (
	"encoding/binary"
	"errors"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// Time is a moment on the node's monotonic clock, in nanoseconds since an
// arbitrary start.
type Time int64

// Epoch numbers the claims of a client identifier; the newest owns the session (E1).
type Epoch uint64

// Message is an application message on its way to subscribers. Its bytes are
// borrowed unless Clone made it.
type Message struct {
	Topic      router.Topic
	Payload    []byte
	Properties mqtt.Properties // raw section of the PUBLISH; see mqtt.Publish
	QoS        mqtt.QoS        // as published
	Retain     bool            // as published
	HasExpiry  bool
	Expiry     uint32 // seconds left at Received [T3]
	Received   Time
	// Origin and Seq name a QoS 2 message of a persistent publisher for
	// duplicate detection (R1, R2); Origin is 0 where there is none. Low is the
	// publisher's low-water mark, at most Seq: no number below it comes again.
	Origin uint64
	Seq    uint64
	Low    uint64
	// Retained is the index, in the topic's shard, of the command by which this
	// publish replaced the topic's retained message, or deleted it; 0 if it did not
	// (P8). Replayed says that it comes as the retained message, not live.
	Retained uint64
	Replayed bool

	forms *Forms // encodings that the subscribers of one fan-out share; see Share
	fan   uint32 // the fan-out of forms that is m's
}

// The packed form, version 1:
//
//	version  1 byte
//	flags    1 byte: QoS in bits 0 and 1, then the bits below
//	expiry   4 bytes, big endian, seconds left          if packedExpiry
//	origin   uvarint, not 0                             if packedOrigin
//	seq      uvarint                                    if packedOrigin
//	low      uvarint, how far it lies below seq         if packedOrigin
//	retained uvarint, not 0                             if packedRetained
//	topic, properties, payload: each a uvarint length and the bytes
//
// A form has one encoding only: uvarints are minimal, unknown flags are errors.
const (
	packedVersion = 1

	packedQoS      = 0x03
	packedRetain   = 0x04
	packedExpiry   = 0x08
	packedOrigin   = 0x10
	packedRetained = 0x20
	packedReplayed = 0x40
	packedOverhead = 2 + 4 + 2*10 + 3*5 // bytes at most beside topic, properties and payload
	packedIndex    = 10                 // and of Retained

	packedKnown = packedQoS | packedRetain | packedExpiry | packedOrigin | packedRetained | packedReplayed
)

// A message must fit into a PUBLISH, with room for what is added to it on the
// way: the codec takes more for a bug.
const (
	maxTopic   = 1<<16 - 1
	maxContent = 1<<28 - 1<<20
)

// What Parse may find wrong. Beside them it returns router.ParseTopic's errors.
var (
	ErrMessageVersion = errors.New("session: parse message: unknown version")
	ErrMessageFlags   = errors.New("session: parse message: bad flags")
	ErrMessageCut     = errors.New("session: parse message: cut short or bad length")
)

// Append writes m in Dunlin's packed form, which mailboxes, forwarded frames,
// queues and the store share. Expiry is lowered by the time since Received.
func (m *Message) Append(dst []byte, now Time) []byte {
	flags := byte(m.QoS) & packedQoS
	if m.Retain {
		flags |= packedRetain
	}
	if m.HasExpiry {
		flags |= packedExpiry
	}
	if m.Origin != 0 {
		flags |= packedOrigin
	}
	if m.Retained != 0 {
		flags |= packedRetained
	}
	if m.Replayed {
		flags |= packedReplayed
	}
	dst = append(dst, packedVersion, flags)
	if m.HasExpiry {
		dst = binary.BigEndian.AppendUint32(dst, m.Left(now))
	}
	if m.Origin != 0 {
		dst = binary.AppendUvarint(dst, m.Origin)
		dst = binary.AppendUvarint(dst, m.Seq)
		dst = binary.AppendUvarint(dst, m.Seq-m.Low)
	}
	if m.Retained != 0 {
		dst = binary.AppendUvarint(dst, m.Retained)
	}
	topic := m.Topic.String()
	dst = binary.AppendUvarint(dst, uint64(len(topic)))
	dst = append(dst, topic...)
	dst = binary.AppendUvarint(dst, uint64(len(m.Properties)))
	dst = append(dst, m.Properties...)
	dst = binary.AppendUvarint(dst, uint64(len(m.Payload)))
	return append(dst, m.Payload...)
}

// Parse reads the packed form at the head of b into m, borrowing b, and returns
// the rest. The message counts as received now. Bad bytes are an error, never a
// panic: they may come from a peer or a disk. After an error m is unspecified.
func (m *Message) Parse(b []byte, now Time) (rest []byte, err error) {
	*m = Message{Received: now}
	if len(b) < 2 {
		return b, ErrMessageCut
	}
	version, flags := b[0], b[1]
	if version != packedVersion {
		return b, ErrMessageVersion
	}
	if flags&^packedKnown != 0 || flags&packedQoS == 3 {
		return b, ErrMessageFlags
	}
	m.QoS = mqtt.QoS(flags & packedQoS)
	m.Retain = flags&packedRetain != 0
	m.Replayed = flags&packedReplayed != 0
	rest = b[2:]
	if flags&packedExpiry != 0 {
		if len(rest) < 4 {
			return b, ErrMessageCut
		}
		m.HasExpiry, m.Expiry = true, binary.BigEndian.Uint32(rest)
		rest = rest[4:]
	}
	var ok bool
	if flags&packedOrigin != 0 {
		if m.Origin, rest, ok = cutUvarint(rest); !ok {
			return b, ErrMessageCut
		}
		if m.Origin == 0 {
			return b, ErrMessageFlags
		}
		if m.Seq, rest, ok = cutUvarint(rest); !ok {
			return b, ErrMessageCut
		}
		var below uint64
		if below, rest, ok = cutUvarint(rest); !ok {
			return b, ErrMessageCut
		}
		if below > m.Seq {
			return b, ErrMessageFlags
		}
		m.Low = m.Seq - below
	}
	if flags&packedRetained != 0 {
		if m.Retained, rest, ok = cutUvarint(rest); !ok {
			return b, ErrMessageCut
		}
		if m.Retained == 0 {
			return b, ErrMessageFlags
		}
	}
	var topic, properties []byte
	if topic, rest, ok = cutField(rest); !ok {
		return b, ErrMessageCut
	}
	if properties, rest, ok = cutField(rest); !ok {
		return b, ErrMessageCut
	}
	if m.Payload, rest, ok = cutField(rest); !ok {
		return b, ErrMessageCut
	}
	if len(topic) > maxTopic || len(properties)+len(m.Payload) > maxContent {
		return b, ErrMessageCut
	}
	m.Properties = properties
	if m.Topic, err = router.ParseTopic(topic); err != nil {
		return b, err
	}
	return rest, nil
}

// cutUvarint takes a minimal uvarint off the head of b.
func cutUvarint(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	v, n := binary.Uvarint(b)
	if n <= 0 || b[n-1] == 0 {
		return 0, b, false
	}
	return v, b[n:], true
}

// cutField takes bytes and their length before them off the head of b.
func cutField(b []byte) (field, rest []byte, ok bool) {
	n, b, ok := cutUvarint(b)
	if !ok || n > uint64(len(b)) {
		return nil, b, false
	}
	return b[:n:n], b[n:], true
}

// Reset empties m, before its fields are set anew.
func (m *Message) Reset() { *m = Message{} }

// Clone returns a message that shares no memory with what m borrows.
func (m *Message) Clone() Message {
	c := *m
	c.forms, c.fan = nil, 0
	c.Topic = m.Topic.Clone()
	own := make([]byte, 0, len(m.Payload)+len(m.Properties))
	own = append(own, m.Payload...)
	own = append(own, m.Properties...)
	n := len(m.Payload)
	c.Payload, c.Properties = own[:n:n], mqtt.Properties(own[n:])
	return c
}

// Left is what is left of m's expiry interval at now [MQTT-3.3.2-6], in whole seconds; a begun
// second is not counted as passed. It means nothing without HasExpiry.
func (m *Message) Left(now Time) uint32 {
	passed := int64(now-m.Received) / int64(time.Second)
	switch {
	case passed <= 0:
		return m.Expiry
	case passed >= int64(m.Expiry):
		return 0
	}
	return m.Expiry - uint32(passed)
}

// LowerExpiry lowers what is left of the expiry of a message in packed form, in
// place: it waited for so many seconds since it was packed [T3].
func LowerExpiry(packed []byte, seconds uint32) {
	if len(packed) >= 6 && packed[1]&packedExpiry != 0 {
		left := binary.BigEndian.Uint32(packed[2:])
		binary.BigEndian.PutUint32(packed[2:], left-min(left, seconds))
	}
}

// Expired says whether nothing of m's expiry interval is left at now.
func (m *Message) Expired(now Time) bool { return m.HasExpiry && m.Left(now) == 0 }
