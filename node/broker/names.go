package broker

import (
	"net/netip"
	"slices"

	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/router"
)

// What a client is known by is its text in the slab: the address that it comes from, its
// client identifier, and the filters of its subscriptions, one after the
// other. What is cut out of it may be kept, at the price of the texts of a chunk.

// meet notes where a connection comes from.
func (w *worker) meet(c *conn, info *listen.Info) {
	i := slices.Index(w.listeners, info.Listener)
	if i < 0 {
		i = len(w.listeners)
		w.listeners = append(w.listeners, info.Listener)
	}
	c.client.listener, c.client.loopback = uint16(i), info.Loopback
	w.text, _ = info.Remote.AppendBinary(w.text[:0]) // never an error
	c.client.remote = uint16(len(w.text))
	w.conns.setText(c, w.text)
}

// name notes who a client is, once.
func (w *worker) name(c *conn, clientID string, who *auth.Principal) {
	c.client.name = uint16(len(clientID))
	w.trust(c, who)
	w.text = append(w.text[:0], clientID...)
	w.conns.addText(c, w.text)
}

// remote is the address that the client comes from.
func (w *worker) remote(c *conn) (addr netip.AddrPort) {
	if err := addr.UnmarshalBinary([]byte(w.conns.text(c)[:c.client.remote])); err != nil {
		panic("broker: " + err.Error())
	}
	return addr
}

// clientID is empty until the client is known.
func (w *worker) clientID(c *conn) string {
	return w.conns.text(c)[c.client.remote:][:c.client.name]
}

// identity is lent until the next call.
func (w *worker) identity(c *conn) *auth.Identity {
	w.who = auth.Identity{ClientID: w.clientID(c), Principal: c.client.who}
	return &w.who
}

// filters are those of the client's subscriptions: a persistent session's are held by the
// shard, others in the node's table under this connection.
func (w *worker) filters(c *conn) router.Filters {
	return router.Filters(w.conns.text(c)[c.client.names():])
}

// names is where the filters begin in the text.
func (cl *client) names() int { return int(cl.remote) + int(cl.name) }

// addFilter notes a subscription, which must not be there.
func (w *worker) addFilter(c *conn, f router.Filter) {
	w.text = router.AppendFilter(w.text[:0], f)
	w.conns.addText(c, w.text)
	c.client.filters++
	w.subscriptions++
	w.allSubscribed.Add(1)
}

// deleteFilters forgets those of which gone is true.
func (w *worker) deleteFilters(c *conn, gone func(router.Filter) bool) {
	w.work += int(c.client.filters) / filterWork
	w.text = append(w.text[:0], w.conns.text(c)[:c.client.names()]...)
	left := int32(0)
	for f := range w.filters(c).All() {
		if !gone(f) {
			w.text = router.AppendFilter(w.text, f)
			left++
		}
	}
	if n := c.client.filters - left; n > 0 {
		w.conns.setText(c, w.text)
		c.client.filters = left
		w.subscriptions -= int(n)
		w.allSubscribed.Add(-int64(n))
	}
}
