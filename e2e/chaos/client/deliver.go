package client

import (
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// deliver takes a message, to the application if it is new there, and answers it
// unless the client leaves before.
func (c *Client) deliver(at time.Duration, p *mqtt.Publish) {
	c.quietAt = at
	e := history.Event{
		Op: history.Deliver, Invoke: at, Return: at, Outcome: history.OK,
		Topic: string(p.Topic), Payload: string(p.Payload), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, PacketID: p.PacketID,
		Fresh: p.QoS < 2 || !c.received[p.PacketID],
	}
	leave := p.QoS > 0 && c.leaves()
	if p.QoS == 2 {
		c.received[p.PacketID] = true
	}
	switch {
	case leave:
	case p.QoS == 1:
		e.Acked = c.conn.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID})
	case p.QoS == 2:
		e.Acked = c.conn.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.PacketID})
	}
	c.event(e)
	if leave {
		c.over(history.Dropped)
		c.elsewhere()
	}
}

// released takes PUBREL: the identifier is free.
func (c *Client) released(id uint16) {
	if c.leaves() {
		c.over(history.Dropped)
		c.elsewhere()
		return
	}
	a := mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: id}
	if !c.received[id] {
		a.Reason = mqtt.PacketIDNotFound
	}
	delete(c.received, id)
	c.conn.send(&a)
}
