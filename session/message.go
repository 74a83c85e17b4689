package session

import (
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
	// duplicate detection (R1, R2); Origin is 0 where there is none.
	Origin uint64
	Seq    uint64

	// encoded PUBLISHes shared by the subscribers of one fan-out; see Live.Deliver.
}

// Append writes m in Dunlin's packed form, which mailboxes, forwarded frames,
// queues and the store share. Expiry is lowered by the time since Received.
func (m *Message) Append(dst []byte, now Time) []byte { panic("seam") }

// Parse reads the packed form at the head of b into m, borrowing b, and returns
// the rest. The message counts as received now. Bad bytes are an error, never a
// panic: they may come from a peer or a disk.
func (m *Message) Parse(b []byte, now Time) (rest []byte, err error) { panic("seam") }

// Expired says whether nothing of m's expiry interval is left at now.
func (m *Message) Expired(now Time) bool { panic("seam") }
