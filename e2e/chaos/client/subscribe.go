package client

import (
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// subscribe asks for f. Retained messages are not asked for: Read does that.
func (c *Client) subscribe(f Filter) {
	e := &history.Event{
		Op: history.Subscribe, Conn: c.conn.number, Node: c.conn.node.Name,
		Filter: f.Filter, QoS: f.QoS, NoLocal: f.NoLocal,
	}
	id := c.nextID()
	c.asked[id] = e
	e.Invoke = c.rec.Now()
	c.conn.send(&mqtt.Subscribe{PacketID: id, Filters: []mqtt.Subscription{{
		Filter: []byte(f.Filter), QoS: f.QoS, NoLocal: f.NoLocal, RetainHandling: 2,
	}}})
}

// unsubscribe withdraws f.
func (c *Client) unsubscribe(f Filter) {
	e := &history.Event{Op: history.Unsubscribe, Conn: c.conn.number, Node: c.conn.node.Name, Filter: f.Filter}
	id := c.nextID()
	c.asked[id] = e
	delete(c.held, f.Filter)
	e.Invoke = c.rec.Now()
	c.conn.send(&mqtt.Unsubscribe{PacketID: id, Filters: [][]byte{[]byte(f.Filter)}})
}

// churn withdraws a filter at random, or asks again for one that was withdrawn.
func (c *Client) churn() {
	if len(c.Filters) == 0 || len(c.asked) > 0 {
		return
	}
	if f := c.Filters[c.rnd.IntN(len(c.Filters))]; c.held[f.Filter] {
		c.unsubscribe(f)
	} else {
		c.subscribe(f)
	}
}

// confirmed takes SUBACK and UNSUBACK.
func (c *Client) confirmed(at time.Duration, a mqtt.Suback) {
	e := c.asked[a.PacketID]
	if e == nil || len(a.Reasons) != 1 {
		return
	}
	delete(c.asked, a.PacketID)
	e.Return, e.Outcome, e.Reason = at, history.OK, a.Reasons[0]
	if e.Reason.Failed() {
		e.Outcome = history.Fail
	}
	if e.Op == history.Subscribe && e.Outcome == history.OK {
		c.held[e.Filter] = true
	}
	c.event(*e)
}
