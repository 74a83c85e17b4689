package broker

import (
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// What a client has shown may be good for a while only, such as a token: then its
// connection ends with it, unless it has proved anew who it is. Its session stays, as
// after any other end.
//
// The end is a second of the loop's clock, and not one of the wall clock: a step of that
// one changes nothing for who is connected (T1). Each connection has its own, and each
// chunk of the slab the first of its connections', so that a tick looks at one word for
// 256 connections and no timer is needed for any.

// lapses are the first seconds in which a connection may end, by chunk; 0: none does.
type lapses []uint32

// turnLapses bounds how many connections end in a turn, since what gave them their
// tokens may have done so in one second.
const turnLapses = 1024

// farthest is beyond the life of a process, and its second fits.
const farthest = 70 * 365 * 24 * time.Hour

// trust has c speak for who from now on, and for as long as that is good.
func (w *worker) trust(c *conn, who *auth.Principal) {
	c.client.who, c.client.lapse = who, 0
	if e := who.Expires(); !e.IsZero() {
		c.client.lapse = lapseAfter(w.now(), time.Until(e))
		w.lapses.note(int(c.id.Index()/slabChunk), c.client.lapse)
	}
}

// lapseAfter is the first second that begins no sooner than after left.
func lapseAfter(now session.Time, left time.Duration) uint32 {
	const second = session.Time(time.Second)
	end := now + session.Time(min(max(left, 0), farthest))
	return uint32(max((end+second-1)/second, 1))
}

// note sees to it that a chunk is looked at in a second.
func (l *lapses) note(chunk int, at uint32) {
	for len(*l) <= chunk {
		*l = append(*l, 0)
	}
	(*l)[chunk] = sooner((*l)[chunk], at)
}

// sooner is the first of two seconds, of which 0 is none.
func sooner(a, b uint32) uint32 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// endLapsed ends the connections whose time is over. What is too much for one turn is
// left to the next.
func (w *worker) endLapsed() {
	now, room := uint32(w.now()/session.Time(time.Second)), turnLapses
	w.lapsing = false
	for k, first := range w.lapses {
		if first != 0 && first <= now {
			w.lapses[k] = w.endLapsedOf(w.conns.chunks[k], now, &room)
		}
	}
}

// endLapsedOf ends those of a chunk, and says when it is to be looked at again.
func (w *worker) endLapsedOf(k *chunk, now uint32, room *int) (next uint32) {
	for i := range k.conns {
		c := &k.conns[i]
		at := c.client.lapse
		if at == 0 || c.phase != up && c.phase != connecting {
			continue
		}
		if at > now || *room == 0 {
			w.lapsing = w.lapsing || at <= now
			next = sooner(next, at)
			continue
		}
		*room--
		w.counters.Lapsed++
		if c.phase == connecting {
			w.connack(c, mqtt.NotAuthorized)
		} else {
			w.end(c, mqtt.MaximumConnectTime)
		}
	}
	return next
}
