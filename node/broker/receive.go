package broker

import (
	"errors"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// maxConnectPacket bounds CONNECT, which comes before anything is known of the
// client (case 3).
const maxConnectPacket = 64 << 10

// Receive cuts packets from what has come and takes them one by one. It stops
// early at a packet that must wait, which then comes again.
func (w *worker) Receive(id listen.ID, b []byte) (n, want int) {
	c := w.conn(id)
	if c == nil {
		return len(b), 0
	}
	for n < len(b) && c.holds == 0 {
		if c.phase == closing {
			return len(b), 0 // case 59: bytes after DISCONNECT
		}
		if w.flows && c.phase == up && w.tooFast(c) {
			return n, 0
		}
		if c.phase == fresh && mqtt.Kind(b[n]>>4) != mqtt.CONNECT {
			// Judged by its first byte: of another protocol's bytes the rest need
			// not come (case 1).
			w.refuse(c, errNotConnect)
			return len(b), 0
		}
		if c.phase == connecting && !mayAuthenticate(mqtt.Kind(b[n]>>4)) {
			w.refuse(c, errNotAuth)
			return len(b), 0
		}
		limit := w.Session.MaximumPacketSize
		switch c.phase {
		case fresh:
			limit = maxConnectPacket
			w.packet.Connect.Version = 0 // unknown until CONNECT says, see refuseConnect
		case connecting:
			limit = maxAuthBytes
		}
		frame, size, err := mqtt.Cut(b[n:], limit)
		if err == nil && size == 0 {
			return n, 0
		}
		if err == nil {
			err = w.take(c, frame)
		}
		switch {
		case err == errHeld:
			return n, 0
		case err != nil:
			w.refuse(c, err)
			return len(b), 0
		}
		n += size
		if w.work++; w.work >= turnWork && c.phase == up {
			w.rest(c)
		}
	}
	return n, 0
}

// errHeld says that a packet was not taken yet: the connection is on hold.
var errHeld = errors.New("on hold")

// take takes one packet. An error refuses it and ends the connection.
func (w *worker) take(c *conn, f mqtt.Frame) error {
	p := &w.packet
	if c.phase == fresh {
		w.counters.Packets[mqtt.CONNECT]++
		if err := mqtt.Decode(f, 0, p); err != nil {
			return err
		}
		w.connect(c, &p.Connect)
		return nil
	}
	if err := mqtt.Decode(f, c.version, p); err != nil {
		if p.Kind == mqtt.CONNECT {
			return errSecondConnect
		}
		return err
	}
	if err := p.FromClient(); err != nil {
		return err
	}
	if c.phase == connecting {
		w.counters.Packets[p.Kind]++
		w.authenticate(c, p)
		return nil
	}
	if w.mustWait(c, p) {
		return errHeld
	}
	w.counters.Packets[p.Kind]++
	w.moving = c
	if p.Kind != mqtt.PUBLISH { // which moves no queue
		w.waiting -= c.live.Held()
	}
	act, out := c.live.Receive(p, w.now(), w.loop.Begin(c.id))
	w.loop.End(c.id, out)
	if p.Kind != mqtt.PUBLISH {
		w.waiting += c.live.Held()
	}
	if w.flows {
		w.charge(c, p.Kind, act.Verb, len(f.Body))
	}
	w.drops(c)
	w.awaitSocket(c)
	switch act.Verb {
	case session.Route:
		w.publish(c, &p.Publish, act.Stored)
	case session.Acked:
		w.acknowledged(c, act, false)
	case session.Received:
		w.acknowledged(c, act, true)
	case session.Released:
		w.released(c, p.Ack.PacketID)
	case session.Subscribe:
		w.subscribe(c, &p.Subscribe)
	case session.Unsubscribe:
		w.unsubscribe(c, &p.Unsubscribe)
	case session.Authenticate:
		w.takeAuth(c, &p.Auth)
	case session.Bye:
		w.bye(c, &p.Disconnect)
	case session.Fail:
		w.counters.ProtocolErrors++
		w.end(c, act.Reason)
	}
	return nil
}

// What a connection may have under way beside its Receive Maximum, each with the
// bytes of one packet.
const (
	maxRetaining = 64
	maxAsking    = 16
)

// mustWait says that a packet cannot be taken yet, and holds the connection: a
// publish must not overtake a retained one (P7), and nobody may have more requests
// under way than a little.
func (w *worker) mustWait(c *conn, p *mqtt.Packet) bool {
	switch p.Kind {
	case mqtt.PUBLISH:
		if n := c.client.retaining; n >= maxRetaining || n > 0 && !p.Publish.Retain {
			w.hold(c, holdRetain)
			return true
		}
	case mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE:
		if c.client.asking >= maxAsking {
			w.hold(c, holdAnswers)
			return true
		}
	}
	return false
}

// answered says that a SUBSCRIBE or UNSUBSCRIBE of c waits no more.
func (w *worker) answered(c *conn) {
	c.client.asking--
	w.release(c, holdAnswers)
}

// errSecondConnect ends a connection whatever is wrong with its second CONNECT beside
// [MQTT-3.1.0-2]: DISCONNECT has no reasons for that (3.14.2.1).
var errSecondConnect = &mqtt.Error{Reason: mqtt.ProtocolError, Text: "second CONNECT"}

// errNotConnect ends a connection whose first packet is something else, without
// an answer [MQTT-3.1.0-1].
var errNotConnect = errors.New("first packet is not CONNECT")

// refuse ends a connection over a packet that could not be taken, with the
// answer that GUARANTEES section 5 gives for it.
func (w *worker) refuse(c *conn, err error) {
	w.counters.ProtocolErrors++
	var bad *mqtt.Error
	if !errors.As(err, &bad) {
		w.drop(c)
		return
	}
	switch c.phase {
	case fresh:
		w.refuseConnect(c, bad)
	case connecting:
		w.connack(c, bad.Reason) // before which there is no DISCONNECT [MQTT-3.14.0-1]
	default:
		w.end(c, bad.Reason)
	}
}

// bye takes a DISCONNECT: whether the will is due, and a new session expiry. We
// close our side when that is committed, so that a client which waits for it may
// come back anywhere and meets no will of its own (P6).
func (w *worker) bye(c *conn, d *mqtt.Disconnect) {
	c.graceful = !session.WillFires(true, d.Reason)
	c.client.agreed.SessionExpiry = c.client.agreed.Disconnected(d, w.Policy)
	w.lastAnswers(c)
	id := c.id
	w.depart(c, func() { w.loop.Close(id) })
}
