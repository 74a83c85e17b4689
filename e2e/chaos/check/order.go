package check

import (
	"slices"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// order (P7): the first deliveries to a session of what one session of a
// publisher published on one topic with one QoS rise in sequence; and a message
// that a session holds unacknowledged comes again with DUP = 1 and under its
// identifier.
//
// A publisher that does not keep its session is another one after each CONNECT;
// messages of QoS 0 are ordered within one connection, nothing holds them
// together beyond it.
func order(w *world) []Violation {
	r := report{rule: "order"}
	of := w.publishers()
	for _, l := range w.lives {
		l.rising(w, of, &r)
		l.repeats(&r)
	}
	return r.sorted()
}

// incarnation is what the order of messages holds within, on the publisher's side.
type incarnation struct {
	life *life
	conn int // for QoS 0
}

// publishers says to which life each connection belongs.
func (w *world) publishers() map[string]map[int]*life {
	of := make(map[string]map[int]*life)
	for client, cs := range w.clients {
		of[client] = make(map[int]*life)
		for _, c := range cs {
			of[client][c.connect.Conn] = c.life
		}
	}
	return of
}

func (l *life) rising(w *world, of map[string]map[int]*life, r *report) {
	type flow struct {
		from  incarnation
		topic string
		qos   mqtt.QoS
	}
	type last struct {
		seq     int
		payload string
	}
	newest := make(map[flow]last)
	seen := make(map[string]bool)
	for _, d := range l.delivered {
		_, topic, seq, ok := history.ParsePayload(d.Payload)
		p := w.published[d.Payload]
		if !ok || p == nil || p.Op != history.Publish || seen[d.Payload] || p.Retain && d.Retain || !l.ordinary(topic) {
			continue
		}
		seen[d.Payload] = true
		f := flow{from: incarnation{life: of[p.Client][p.Conn]}, topic: topic, qos: p.QoS}
		if p.QoS == 0 || f.from.life == nil {
			f.from.conn = p.Conn
		}
		if n := newest[f]; seq < n.seq && l.missed(p, d) {
			continue // it comes first by a resend, to one who was not subscribed all the time
		} else if seq < n.seq {
			r.add("%s got %q after %q", l.client, d.Payload, n.payload)
		} else {
			newest[f] = last{seq, d.Payload}
		}
	}
}

// missed says that p was sent again on another connection before it came as d, and
// that l may have had no subscription when it was routed the first time.
func (l *life) missed(p, d *history.Event) bool {
	resent := p.Outcome == history.Unknown || p.AckConn != p.Conn
	return resent && p.QoS > 0 && !slices.ContainsFunc(l.subs, func(s *subscription) bool {
		return s.group == "" && s.certain(p.Invoke, d.Invoke) && matches(s.filter, p.Topic)
	})
}

// repeats holds what a session has not acknowledged against what comes on its
// next connections.
func (l *life) repeats(r *report) {
	type held struct {
		payload string
		conn    int
	}
	open := make(map[uint16]held)
	for _, d := range l.delivered {
		if d.QoS == 0 {
			continue
		}
		if o, ok := open[d.PacketID]; ok && o.conn != d.Conn {
			switch {
			case o.payload != d.Payload:
				r.about("id", "%s holds %q under identifier %d and got %q under it", l.client, o.payload, d.PacketID, d.Payload)
			case !d.Dup:
				r.about("dup", "%s got %q again on connection %d with DUP = 0", l.client, d.Payload, d.Conn)
			}
		}
		delete(open, d.PacketID)
		if !d.Acked && d.Fresh {
			open[d.PacketID] = held{d.Payload, d.Conn}
		}
	}
}
