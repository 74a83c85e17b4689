package client

import (
	"slices"
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// publish sends the next message, if the window has room.
func (c *Client) publish() {
	if len(c.sending) >= c.Window || len(c.Topics) == 0 {
		return
	}
	topic := c.Topics[c.rnd.IntN(len(c.Topics))]
	c.seqs[topic]++
	s := &sent{event: history.Event{
		Op: history.Publish, Conn: c.conn.number, Node: c.conn.node.Name,
		Topic: topic, QoS: c.QoS[c.rnd.IntN(len(c.QoS))], Retain: c.Retain,
		Payload: history.Payload(c.ID, topic, c.seqs[topic]),
	}}
	if c.Delete > 0 && c.rnd.Float64() < c.Delete {
		s.event.Payload = ""
	}
	s.packet = mqtt.Publish{Topic: []byte(topic), Payload: []byte(s.event.Payload), QoS: s.event.QoS, Retain: c.Retain}
	if s.event.QoS > 0 {
		s.packet.PacketID = c.nextID()
		c.sending = append(c.sending, s)
	}
	s.event.Invoke = c.rec.Now()
	ok := c.conn.send(&s.packet)
	if s.event.QoS == 0 {
		// It was sent: more is never known.
		s.event.AckConn = c.conn.number
		c.outcome(s, c.rec.Now(), mqtt.Success)
		if !ok {
			c.over(history.Closed)
		}
	} else if c.leaves() {
		c.over(history.Dropped)
		c.elsewhere()
	}
}

// outcome records how s ended, once.
func (c *Client) outcome(s *sent, at time.Duration, r mqtt.Reason) {
	if s.recorded {
		return
	}
	s.recorded = true
	s.event.Return, s.event.Outcome, s.event.Reason = at, history.OK, r
	if r.Failed() {
		s.event.Outcome = history.Fail
	}
	c.event(s.event)
}

// forget gives up what will not be answered any more.
func (c *Client) forget(s *sent) {
	if !s.recorded {
		s.recorded = true
		s.event.Return, s.event.Outcome = history.Never, history.Unknown
		c.event(s.event)
	}
}

// answered takes PUBACK, PUBREC and PUBCOMP.
func (c *Client) answered(at time.Duration, a mqtt.Ack) {
	i := slices.IndexFunc(c.sending, func(s *sent) bool { return s.packet.PacketID == a.PacketID })
	if i < 0 {
		if a.Kind == mqtt.PUBREC && !a.Reason.Failed() {
			c.conn.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: a.PacketID, Reason: mqtt.PacketIDNotFound})
		}
		return
	}
	s := c.sending[i]
	s.event.AckConn = c.conn.number
	if a.Kind != mqtt.PUBCOMP {
		c.outcome(s, at, a.Reason)
	}
	if a.Kind != mqtt.PUBREC || a.Reason.Failed() {
		c.sending = slices.Delete(c.sending, i, i+1)
		return
	}
	s.release = true
	if c.leaves() { // between PUBREC and PUBREL
		c.over(history.Dropped)
		c.elsewhere()
		return
	}
	c.conn.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: a.PacketID})
}
