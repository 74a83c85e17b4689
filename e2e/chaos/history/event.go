// Package history records what clients did and saw while faults happened: events
// on one monotonic clock, the faults beside them, and the seed that made both. A
// history is all that a checker is given; it is written to a folder when a run
// fails, so that it can be judged again.
package history

import (
	"slices"
	"time"

	"dunlin/proto/mqtt"
)

// Op says what an Event is about.
type Op string

const (
	Connect     Op = "connect"     // CONNECT to CONNACK
	Publish     Op = "publish"     // PUBLISH to PUBACK, PUBREC, or the write of a QoS 0; over several connections where it is resent
	Subscribe   Op = "subscribe"   // SUBSCRIBE of one filter to its code in SUBACK
	Unsubscribe Op = "unsubscribe" // UNSUBSCRIBE of one filter to its code in UNSUBACK
	Deliver     Op = "deliver"     // a PUBLISH that came; Invoke and Return are both its arrival
	Read        Op = "read"        // SUBSCRIBE to an exact topic until all that is retained had come; Payload is the newest value seen between, "" for none
	End         Op = "end"         // a connection's end: Invoke when it was last known alive, Return when it was known over
	Drain       Op = "drain"       // the client was connected, the cluster healed, and nothing came any more
)

// Outcome is what is known of an operation.
type Outcome string

const (
	OK      Outcome = "ok"
	Fail    Outcome = "fail"    // refused: it has not happened and will not
	Unknown Outcome = "unknown" // no answer: it happened, happens later, or never
)

// Never is the Return of an operation that was not answered.
const Never = time.Duration(1<<63 - 1)

// Event is one operation of one client. Which of the fields after Outcome mean
// something depends on Op.
//
// Invariants: Invoke <= Return; Return is Never exactly if Outcome is Unknown.
type Event struct {
	Client  string        `json:"client"` // client identifier
	Conn    int           `json:"conn"`   // number of the client's connection, from 1, on which it began
	Node    string        `json:"node"`   // the node that this connection leads to
	Op      Op            `json:"op"`
	Invoke  time.Duration `json:"invoke"` // since the history's beginning
	Return  time.Duration `json:"return"`
	Outcome Outcome       `json:"outcome"`
	Reason  mqtt.Reason   `json:"reason,omitempty"`

	// Publish and Deliver, and the will of Connect.
	Topic    string   `json:"topic,omitempty"`
	Payload  string   `json:"payload,omitempty"`
	QoS      mqtt.QoS `json:"qos,omitempty"` // of Subscribe: asked for
	Retain   bool     `json:"retain,omitempty"`
	Dup      bool     `json:"dup,omitempty"`
	PacketID uint16   `json:"id,omitempty"`
	// Expiry is the message expiry of Publish and the session expiry of Connect
	// and End.
	Expiry time.Duration `json:"expiry,omitempty"`

	// Deliver.
	Fresh bool `json:"fresh,omitempty"` // went to the application: no repeat of a QoS 2 handshake under way
	Acked bool `json:"acked,omitempty"` // PUBACK or PUBREC was written

	// Connect.
	Clean     bool          `json:"clean,omitempty"`
	Present   bool          `json:"present,omitempty"` // session present, of CONNACK
	KeepAlive time.Duration `json:"keepalive,omitempty"`
	Will      bool          `json:"will,omitempty"` // Topic, Payload, QoS and Retain are the will's
	WillDelay time.Duration `json:"willdelay,omitempty"`

	// Subscribe, Unsubscribe.
	Filter  string `json:"filter,omitempty"` // with $share/group/ where it is shared
	NoLocal bool   `json:"nolocal,omitempty"`

	// End.
	Cause Cause `json:"cause,omitempty"`
	// AckConn is the connection on which a Publish was answered.
	AckConn int `json:"ackconn,omitempty"`
}

// Cause is how a connection ended.
type Cause string

const (
	Orderly  Cause = "disconnect"      // the client sent DISCONNECT 0x00
	WithWill Cause = "disconnect-will" // the client sent DISCONNECT 0x04
	Dropped  Cause = "dropped"         // the client closed or reset it without a word
	Closed   Cause = "closed"          // it ended from the other side, or of itself
)

// Forever is the session expiry that never comes.
const Forever = time.Duration(0xFFFFFFFF) * time.Second

// Fault is one entry of the fault log.
type Fault struct {
	At   time.Duration `json:"at"`
	Kind string        `json:"kind"` // kill, restart, pause, resume, cut, rule, heal, ...
	Node string        `json:"node,omitempty"`
	Text string        `json:"text,omitempty"`
}

// Killing is the kind of fault that begins a node's death, of which its clients may know
// before the fault is noted whose part it is.
const Killing = "killing"

// History is a whole run.
type History struct {
	Seed   uint64
	Faults []Fault
	Events []Event // in the order of Invoke
}

// Dead says whether a node was killed between two times.
func (h *History) Dead(node string, from, to time.Duration) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool {
		return f.Node == node && (f.Kind == Killing || f.Kind == "kill" || f.Kind == "power") && f.At >= from && f.At <= to
	})
}
