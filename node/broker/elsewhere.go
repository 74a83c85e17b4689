package broker

import (
	"context"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

// Elsewhere is what clients are told that are to use another server. It is never written.
type Elsewhere struct {
	Reason    mqtt.Reason // UseAnotherServer or ServerMoved
	Reference string      // Server Reference: which; "" does not say
}

// Refer has clients that connect from now on be told to go elsewhere, before anything is
// spent on them: 3.1.1 ones with return code 3. Nil lets them in. Who is connected stays, and
// who is about to be gets in.
func (b *Broker) Refer(to *Elsewhere) { b.elsewhere.Store(to) }

// refer refuses a CONNECT, if clients are to go elsewhere.
func (w *worker) refer(c *conn, p *mqtt.Connect) bool {
	to := w.elsewhere.Load()
	if to == nil {
		return false
	}
	w.counters.Referred++
	ack := mqtt.Connack{Reason: to.Reason, ServerReference: []byte(to.Reference)}
	if !w.takesConnack(p, &ack) {
		ack.ServerReference = nil // [MQTT-3.1.2-24]
	}
	w.refuseWith(c, &ack)
	return true
}

// Connected is the number of clients that have their CONNACK.
func (b *Broker) Connected() int { return int(b.clients.Load()) }

// listedAtOnce is the number of chunks of connections that are listed in one turn: a few
// tenths of a millisecond.
const listedAtOnce = 16

// Connections lists the connections of clients by their numbers, as each loop comes to it.
func (b *Broker) Connections(ctx context.Context) (all []uint64, err error) {
	from := make([]int, len(b.workers))
	for done := false; !done && err == nil; {
		done = true
		err = b.each(ctx, func(w *worker) any { return w.list(from[w.index]) }, func(part any) {
			p := part.(listed)
			all = append(all, p.ids...)
			from[p.worker] = p.next
			done = done && p.last
		})
	}
	return all, err
}

// listed is what one worker says of some of its connections.
type listed struct {
	worker, next int // next is the chunk to go on with
	ids          []uint64
	last         bool
}

func (w *worker) list(from int) listed {
	to := min(from+listedAtOnce, len(w.conns.chunks))
	l := listed{worker: w.index, next: to, last: to == len(w.conns.chunks)}
	for _, k := range w.conns.chunks[min(from, to):to] {
		for i := range k.conns {
			if c := &k.conns[i]; c.phase == up {
				l.ids = append(l.ids, uint64(c.id))
			}
		}
	}
	return l
}

// SendAway ends connections of Connections in good order, as far as they are still there: what
// was acknowledged is committed, 5.0 clients are told to go elsewhere, sessions stay as after
// any other end, and so do wills: each is due after its delay, unless the client is back
// before, as the standard wants it of what a server ends ([MQTT-3.1.2-8], [MQTT-3.1.3-9]; only
// a DISCONNECT of the client deletes a will).
//
// It returns when that is done, or ctx is.
func (b *Broker) SendAway(ctx context.Context, conns []uint64, to *Elsewhere) error {
	some := make([][]listen.ID, len(b.workers))
	for _, id := range conns {
		if w := b.workerOf(router.Subscriber(id)); w != nil {
			some[w.index] = append(some[w.index], listen.ID(id))
		}
	}
	return b.each(ctx, func(w *worker) any { w.sendAway(some[w.index], to); return nil }, func(any) {})
}

func (w *worker) sendAway(ids []listen.ID, to *Elsewhere) {
	for _, id := range ids {
		// First all of them leave their share groups: see closeAll.
		if c := w.conn(id); c != nil && c.phase == up {
			w.withdraw(c)
		}
	}
	for _, id := range ids {
		c := w.conn(id)
		if c == nil || c.phase != up {
			continue
		}
		w.counters.SentAway++
		w.lastAnswers(c)
		w.loop.End(c.id, c.live.SendAway(to.Reason, to.Reference, w.loop.Begin(c.id)))
		w.drop(c)
	}
}
