package client

import "dunlin/e2e/chaos/history"

// move leaves for another node, if there is one: without a word, with one, or by
// taking itself over while the old connection is open.
func (c *Client) move() {
	c.elsewhere()
	switch c.rnd.IntN(3) {
	case 0:
		c.over(history.Dropped)
	case 1:
		c.disconnect()
	case 2:
		c.takeover()
	}
}

// takeover connects before it leaves. What still comes on the old connection
// meanwhile is not read: it counts as never arrived.
func (c *Client) takeover() {
	next, err := dial(c.Nodes[c.at], c.rec.NextConn(c.ID), c.Answer, c.rec)
	if err != nil {
		return
	}
	old := c.conn
	c.unanswered()
	e := history.Event{
		Op: history.End, Conn: old.number, Node: old.node.Name, Invoke: old.held,
		Outcome: history.OK, Cause: history.Dropped, Expiry: c.Expiry,
	}
	c.conn = nil
	c.hello(next)
	old.close()
	e.Return = c.rec.Now()
	c.event(e)
}
