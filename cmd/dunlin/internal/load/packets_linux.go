package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/proto/mqtt"
)

// handle takes one event of epoll's.
func (w *worker) handle(ev *unix.EpollEvent) {
	switch ev.Fd {
	case timerEvent:
		w.tick()
		return
	case wakeEvent:
		var woken [8]byte
		_, _ = unix.Read(w.wake, woken[:])
		return
	}
	c := &w.conns[ev.Fd]
	if c.fd < 0 || c.generation != ev.Pad {
		return
	}
	if c.state == dialing {
		w.connected(c)
		return
	}
	if c.waiting && ev.Events&unix.EPOLLOUT != 0 {
		w.flush(c)
		if c.publisher != nil {
			w.look(c.publisher)
		}
	}
	if ev.Events&^unix.EPOLLOUT != 0 {
		w.read(c)
	}
}

// connected learns how a connect has ended.
func (w *worker) connected(c *conn) {
	code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		w.broken(c, err)
		return
	}
	c.waiting = false
	w.dialed(c)
	if c.fd >= 0 && c.state != securing {
		w.watch(c, unix.EPOLL_CTL_MOD)
	}
}

// write sends b, and keeps what the kernel does not take. Who writes to a connection
// that is gone learns of it by the event that follows.
func (w *worker) write(c *conn, b []byte) {
	c.last = w.swept
	if c.layer != nil {
		w.writeLayer(c, b)
		return
	}
	w.send(c, b)
}

// send is write below TLS and WebSocket.
func (w *worker) send(c *conn, b []byte) {
	if len(c.out) == 0 {
		n, err := unix.Write(int(c.fd), b)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			return
		default:
			b = b[n:]
		}
		if len(b) == 0 {
			return
		}
	}
	c.out = append(c.out, b...)
	w.arm(c)
}

// flush tries again what send has kept.
func (w *worker) flush(c *conn) {
	b := c.out
	c.out = c.out[:0]
	w.send(c, b)
	w.arm(c)
}

// arm asks to be told when the kernel takes bytes again, while there are some.
func (w *worker) arm(c *conn) {
	if waiting := len(c.out) > 0; waiting != c.waiting {
		c.waiting = waiting
		w.watch(c, unix.EPOLL_CTL_MOD)
	}
}

// read takes what has come and answers it in one write.
func (w *worker) read(c *conn) {
	for {
		have := copy(w.buf, c.in)
		n, more, err := w.receive(c, w.buf[have:])
		if err != nil {
			w.broken(c, err)
			return
		}
		if n > 0 && !w.take(c, w.buf[:have+n]) {
			return
		}
		if !more {
			return
		}
	}
}

// receive reads into b. more says that there may be more that epoll does not tell of.
func (w *worker) receive(c *conn, b []byte) (n int, more bool, err error) {
	if c.layer != nil {
		return w.readLayer(c, b)
	}
	n, err = unix.Read(int(c.fd), b)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, false, nil
	case err == nil && n == 0:
		err = errClosed
	}
	return n, false, err
}

// take takes the packets of b; false: the connection is no more.
func (w *worker) take(c *conn, b []byte) bool {
	now := w.clock.now()
	generation := c.generation
	w.out = w.out[:0]
	for {
		f, n, err := mqtt.Cut(b, uint32(len(w.buf)/2))
		if err == nil && n > 0 {
			err = w.incoming(c, f, now)
		}
		if c.generation != generation {
			return false
		}
		if err != nil {
			w.broken(c, err)
			return false
		}
		if n == 0 {
			break
		}
		b = b[n:]
	}
	c.in = append(c.in[:0], b...)
	if len(w.out) > 0 {
		w.write(c, w.out)
	}
	return true
}

// incoming takes one packet and appends its answer to w.out.
func (w *worker) incoming(c *conn, f mqtt.Frame, now int64) error {
	switch k := f.Kind(); {
	case k == mqtt.PUBLISH && c.state >= subscribing:
		return w.message(c, f, now)
	case k == mqtt.PINGRESP:
		w.pong(c, now)
	case k == mqtt.CONNACK && c.state == greeting, k == mqtt.SUBACK && (c.state == subscribing || c.state == resubscribing),
		k == mqtt.UNSUBACK && c.state == unsubscribing, k == mqtt.DISCONNECT:
		return w.answer(c, f)
	case len(f.Body) < 2 || c.state < ready:
		return fmt.Errorf("unexpected %v", k)
	case k == mqtt.PUBREL:
		w.out = append(w.out, byte(mqtt.PUBCOMP)<<4, 2, f.Body[0], f.Body[1])
	case k == mqtt.PUBREC && !refused(f):
		w.out = append(w.out, byte(mqtt.PUBREL)<<4|2, 2, f.Body[0], f.Body[1])
	case k == mqtt.PUBREC, k == mqtt.PUBACK, k == mqtt.PUBCOMP:
		return w.acked(c, f, now)
	default:
		return fmt.Errorf("unexpected %v", k)
	}
	return nil
}

// refused says whether an acknowledgement has a reason that says no.
func refused(f mqtt.Frame) bool { return len(f.Body) > 2 && mqtt.Reason(f.Body[2]).Failed() }

// acked takes the end of a publication's handshake.
func (w *worker) acked(c *conn, f mqtt.Frame, now int64) error {
	p := c.publisher
	if p == nil {
		return fmt.Errorf("unexpected %v", f.Kind())
	}
	due, ok := p.ack(binary.BigEndian.Uint16(f.Body))
	if !ok {
		return fmt.Errorf("%v of what was not sent", f.Kind())
	}
	if refused(f) {
		w.failed.add("publish", mqtt.Reason(f.Body[2]).String(), func() string { return w.clientID(c) + " at " + w.place(c).name })
	}
	w.counts.Acked++
	w.acks.add(w.interval.Ack, now-due)
	w.look(p)
	return nil
}

// answer takes the answers to CONNECT, SUBSCRIBE and UNSUBSCRIBE, and goodbyes.
func (w *worker) answer(c *conn, f mqtt.Frame) error {
	var p mqtt.Packet
	if err := mqtt.Decode(f, w.Config.Version, &p); err != nil {
		return err
	}
	switch p.Kind {
	case mqtt.CONNACK:
		if p.Connack.Reason != mqtt.Success {
			return fmt.Errorf("refused: %v", p.Connack.Reason)
		}
		w.greeted(c)
	case mqtt.SUBACK:
		for _, r := range p.Suback.Reasons {
			if r.Failed() {
				return fmt.Errorf("refused: %v", r)
			}
			if r < mqtt.Reason(w.Config.QoS) {
				return fmt.Errorf("granted QoS %d instead of %d", r, w.Config.QoS)
			}
		}
		w.suback(c)
	case mqtt.UNSUBACK:
		w.unsuback(c)
	case mqtt.DISCONNECT:
		return fmt.Errorf("sent away: %v", p.Disconnect.Reason)
	}
	return nil
}

// message takes a delivery.
func (w *worker) message(c *conn, f mqtt.Frame, now int64) error {
	at, payload, ok := cutPublish(f, w.Config.Version)
	if !ok {
		return errors.New("malformed PUBLISH")
	}
	switch f.First >> 1 & 3 {
	case 1:
		w.out = append(w.out, byte(mqtt.PUBACK)<<4, 2, f.Body[at], f.Body[at+1])
	case 2:
		w.out = append(w.out, byte(mqtt.PUBREC)<<4, 2, f.Body[at], f.Body[at+1])
	}
	w.counts.Received++
	w.counts.RecvBytes += uint64(len(f.Body))
	if len(payload) < MinSize {
		w.foreign++
		return nil
	}
	s := readStamp(payload)
	if w.ledger == nil {
		if d := s.since(now); w.Config.Verb == Sub && d >= 0 && d < int64(10*time.Minute) {
			w.deliveries.add(w.interval.Delivery, d) // most likely of another process of this tester
		}
		return nil
	}
	i, _ := w.who(c)
	if s.tag != w.Tag {
		w.foreign++
		return nil
	}
	passed, ok := w.ledger.deliver(i, s.stream, s.number)
	if !ok {
		w.foreign++
		return nil
	}
	if w.Config.Verb == Offline {
		return nil // how long it was waited for is not the broker's doing
	}
	w.deliveries.add(w.interval.Delivery, s.since(now))
	if p := s.stream - w.Share.Pubs.From; w.Alone && p >= 0 && p < len(w.pubs) && w.Config.Verb != Conn {
		w.pubs[p].landed += passed
		w.look(w.pubs[p])
	}
	return nil
}

// cutPublish finds the packet identifier, if there is one, and the payload.
func cutPublish(f mqtt.Frame, v mqtt.Version) (id int, payload []byte, ok bool) {
	if len(f.Body) < 2 {
		return 0, nil, false
	}
	id = 2 + int(binary.BigEndian.Uint16(f.Body))
	at := id
	if f.First>>1&3 > 0 {
		at += 2
	}
	if v == mqtt.V5 && at < len(f.Body) {
		n, width := binary.Uvarint(f.Body[at:])
		if width <= 0 || n > uint64(len(f.Body)) {
			return 0, nil, false
		}
		at += width + int(n)
	}
	if at > len(f.Body) {
		return 0, nil, false
	}
	return id, f.Body[at:], true
}
