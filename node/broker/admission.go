package broker

import (
	"net/netip"
	"time"

	"dunlin/node/limit"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
)

// turnedTimeout is how long a connection is kept that was turned away at the door, and
// whose client is to be told so when its CONNECT comes.
const turnedTimeout = 2 * time.Second

// answerTo is what a client is told that Admission does not let in.
func answerTo(why limit.Refusal) mqtt.Reason {
	switch why {
	case limit.Admitted:
		return mqtt.Success
	case limit.NodeFull, limit.ListenerFull, limit.AddressFull, limit.UserFull:
		return mqtt.QuotaExceeded
	case limit.Banned, limit.Flapping:
		return mqtt.Banned
	case limit.Pressed:
		return mqtt.ServerBusy // case 56
	}
	return mqtt.ConnectionRateExceeded // case 37
}

// turnedAway asks whether a CONNECT may be looked at, by what it claims.
func (w *worker) turnedAway(c *conn, p *mqtt.Connect) bool {
	if w.Admission == nil {
		return false
	}
	why := c.client.turned
	if why == limit.Admitted {
		why = w.Admission.Greet(p.Username, p.ClientID)
	}
	if why == limit.Admitted {
		return false
	}
	if why == limit.Banned {
		w.banned(c, p.ClientID, p.Username)
	}
	w.connack(c, answerTo(why))
	return true
}

// comeIn asks whether a client may come in that is known by now. False: it was refused.
func (w *worker) comeIn(c *conn, h *handshake) bool {
	if w.Admission == nil {
		return true
	}
	id := h.clientID
	if h.assigned {
		id = ""
	}
	why := w.Admission.Enter(c.client.who.User(), id, w.remote(c).Addr())
	if why != limit.Admitted {
		if why == limit.Banned {
			w.banned(c, []byte(id), []byte(c.client.who.User()))
		}
		w.connack(c, answerTo(why))
		return false
	}
	c.client.entered = true
	return true
}

// forgotten tells Admission that a connection is gone.
func (w *worker) forgotten(c *conn) {
	if w.Admission == nil {
		return
	}
	if c.client.entered {
		w.Admission.Leave(c.client.who.User())
	}
	w.Admission.Depart(w.listeners[c.client.listener], w.remote(c).Addr(), c.client.turned)
}

// maxSilent bounds the connections of a worker whose CONNECT has not come (case 6), but
// for a slack in which they gather so that looking them through is worth while.
const (
	maxSilent   = 1 << 13
	slackSilent = maxSilent / 8
)

// silent is a worker's connections whose CONNECT has not come, by age, and some more
// whose has.
type silent struct{ ids []listen.ID }

// add adds the youngest. Of too many the oldest are closed: who goes about it in earnest
// has said something by then.
func (s *silent) add(w *worker, id listen.ID) {
	if s.ids = append(s.ids, id); len(s.ids) < maxSilent+slackSilent {
		return
	}
	left := s.ids[:0]
	for _, id := range s.ids {
		if c := w.conn(id); c != nil && c.phase == fresh {
			left = append(left, id)
		}
	}
	excess := max(len(left)-maxSilent, 0)
	for _, id := range left[:excess] {
		w.counters.Shed++
		w.drop(w.conn(id))
	}
	s.ids = append(s.ids[:0], left[excess:]...)
}

// Banish closes the connections of the clients that match names, as soon as each loop comes
// to it. Who connects meanwhile is Admission's to judge. Before CONNACK a client is told that it is banned; afterwards that an administrator wants it so, since
// DISCONNECT knows no 0x8A (table 3-10 of the standard).
func (b *Broker) Banish(match func(clientID, user string, from netip.Addr) bool) {
	for _, w := range b.workers {
		w.loop.Post(func(w *worker) { w.banish(match, 0) })
	}
}

// banishedAtOnce is the number of chunks of connections that are looked through in one
// turn: a few tenths of a millisecond.
const banishedAtOnce = 16

// banish looks through the connections from a chunk on.
func (w *worker) banish(match func(clientID, user string, from netip.Addr) bool, from int) {
	to := min(from+banishedAtOnce, len(w.conns.chunks))
	for k := from; k < to; k++ {
		for i := range w.conns.chunks[k].conns {
			c := &w.conns.chunks[k].conns[i]
			if c.phase == gone || c.phase == closing || !match(w.clientID(c), c.client.who.User(), w.remote(c).Addr()) {
				continue
			}
			w.counters.Banished++
			switch c.phase {
			case fresh:
				w.drop(c)
			case connecting:
				w.connack(c, mqtt.Banned)
			default:
				w.end(c, mqtt.AdministrativeAction)
			}
		}
	}
	if to < len(w.conns.chunks) {
		w.loop.Post(func(w *worker) { w.banish(match, to) })
	}
}
