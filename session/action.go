package session

import "dunlin/proto/mqtt"

// Verb is what the broker must do after a step; what is to be sent has been
// appended to the output already, unless it says otherwise.
type Verb uint8

const (
	Nothing      Verb = iota
	Route             // route Packet.Publish (topic resolved, alias applied); QoS > 0 is answered by Live.Published
	Subscribe         // perform Packet.Subscribe, answer by Live.Subscribed
	Unsubscribe       // perform Packet.Unsubscribe, answer by Live.Unsubscribed
	Acked             // the delivery at Action.Index is done (PUBACK, PUBCOMP, or PUBREC >= 0x80, which Reason tells)
	Received          // PUBREC for Action.Index: persistent sessions commit it, then call Live.SendRelease; others have it sent already
	Released          // PUBREL for the known id in Packet.Ack: persistent sessions commit it, then call Live.SendComplete; others have it sent already
	Authenticate      // AUTH to hand to the authenticator
	Bye               // DISCONNECT: close; Action.Reason tells whether the will fires, see WillFires
	Fail              // protocol error: close, after Live.Disconnect with Action.Reason as the last word
)

var verbNames = [...]string{"nothing", "route", "subscribe", "unsubscribe", "acked", "received", "released", "authenticate", "bye", "fail"}

func (v Verb) String() string { return verbNames[v] }

// Action is the outcome of a step.
type Action struct {
	Verb   Verb
	Reason mqtt.Reason
	Index  uint64 // outbound deliveries
	Handle uint64 // what Delivery.Handle was
	Stored bool   // of Route: the store has the packet identifier from an earlier connection
}
