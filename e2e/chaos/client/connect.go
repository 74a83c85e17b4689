package client

import (
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// connect opens a connection to the node at hand and takes the session up, or
// begins one. It reports whether the client is connected.
func (c *Client) connect() bool {
	conn, err := dial(c.Nodes[c.at], c.rec.NextConn(c.ID), c.Answer, c.rec)
	if err != nil {
		return false
	}
	return c.hello(conn)
}

// hello sends CONNECT on conn and waits for its answer; conn is the client's
// from then on if the server says so, else it is closed.
func (c *Client) hello(conn *conn) bool {
	p := mqtt.Connect{
		Version: mqtt.V5, ClientID: []byte(c.ID), RequestProblemInfo: true,
		CleanStart: c.Expiry == 0, SessionExpiry: uint32(c.Expiry / time.Second), KeepAlive: uint16(c.KeepAlive / time.Second),
		ReceiveMaximum: 64,
	}
	e := history.Event{
		Op: history.Connect, Conn: conn.number, Node: conn.node.Name,
		Clean: p.CleanStart, Expiry: c.Expiry, KeepAlive: c.KeepAlive,
	}
	if w := c.Will; w != nil {
		c.wills++
		e.Will, e.Topic, e.QoS, e.Retain, e.WillDelay = true, w.Topic, w.QoS, w.Retain, w.Delay
		e.Payload = history.Payload(c.ID, w.Topic, 1_000_000+c.wills)
		p.HasWill = true
		p.Will = mqtt.Will{QoS: w.QoS, Retain: w.Retain, Topic: []byte(w.Topic), Payload: []byte(e.Payload), Delay: uint32(w.Delay / time.Second)}
	}
	e.Invoke = c.rec.Now()
	conn.send(&p)
	timer := time.NewTimer(c.Answer)
	defer timer.Stop()
	e.Return, e.Outcome = history.Never, history.Unknown
	select {
	case a, ok := <-conn.packets:
		if ok && a.packet.Kind == mqtt.CONNACK {
			ack := a.packet.Connack
			e.Return, e.Outcome, e.Reason, e.Present = a.at, history.OK, ack.Reason, ack.SessionPresent
			if ack.Reason.Failed() {
				e.Outcome = history.Fail
			}
		}
	case <-timer.C:
	case <-c.stop:
	}
	c.event(e)
	if e.Outcome != history.OK {
		conn.close()
		return false
	}
	c.conn, conn.accepted, conn.alive, conn.held, c.quietAt = conn, true, e.Return, e.Invoke, e.Return
	c.resume(e.Present)
	return true
}

// resume goes on where the last connection ended, or begins anew.
func (c *Client) resume(present bool) {
	if !present {
		for _, s := range c.sending {
			c.forget(s)
		}
		c.session.reset()
	}
	for _, s := range c.sending {
		if s.release {
			c.conn.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: s.packet.PacketID})
		} else {
			s.packet.Dup = true // [MQTT-3.3.1-1]
			c.conn.send(&s.packet)
		}
	}
	for _, f := range c.Filters {
		if !c.held[f.Filter] {
			c.subscribe(f)
		}
	}
}

// over ends the connection and notes how.
func (c *Client) over(cause history.Cause) {
	conn := c.conn
	e := history.Event{
		Op: history.End, Conn: conn.number, Node: conn.node.Name, Invoke: conn.held,
		Outcome: history.OK, Cause: cause, Expiry: c.Expiry,
	}
	conn.close()
	e.Return = c.rec.Now()
	c.event(e)
	c.conn = nil
	c.unanswered()
}

// unanswered notes what of SUBSCRIBE and UNSUBSCRIBE has no answer and will get
// none.
func (c *Client) unanswered() {
	for id, e := range c.asked {
		e.Return, e.Outcome = history.Never, history.Unknown
		c.event(*e)
		delete(c.held, e.Filter)
		delete(c.asked, id)
	}
}

// disconnect ends the connection in order and waits for the server's end, so
// that it is known to have read the DISCONNECT.
func (c *Client) disconnect() {
	conn := c.conn
	e := history.Event{
		Op: history.End, Conn: conn.number, Node: conn.node.Name, Invoke: c.rec.Now(),
		Outcome: history.Unknown, Cause: history.Orderly, Expiry: c.Expiry,
	}
	conn.written = conn.send(&mqtt.Disconnect{})
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for open := conn.written; open; {
		select {
		case a, ok := <-conn.packets: // lost: it came after the client had left
			switch {
			case !ok:
				e.Outcome, open = history.OK, false
			case a.packet.Kind == mqtt.DISCONNECT: // it may not have read ours
				open = false
			}
		case <-timer.C:
			open = false
		}
	}
	if e.Outcome != history.OK {
		e.Invoke = conn.held
	}
	conn.close()
	e.Return = c.rec.Now()
	c.event(e)
	c.conn = nil
	c.unanswered()
}
