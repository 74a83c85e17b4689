package check

import (
	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
	"time"
)

// session (P3): session present says what the model of the client identifier
// says; with 1 the subscriptions are there, with 0 none is.
func session(w *world, o Options) []Violation {
	r := report{rule: "session"}
	unanswered := make(map[string][]*history.Event)
	for i := range w.h.Events {
		if e := &w.h.Events[i]; e.Op == history.Connect && e.Outcome == history.Unknown {
			unanswered[e.Client] = append(unanswered[e.Client], e)
		}
	}
	for client, cs := range w.clients {
		for i, c := range cs {
			want := either
			if !raced(cs, i) {
				want = model(cs[:i], c, o)
				for _, u := range unanswered[client] {
					want = want.unless(u, c, o)
				}
			}
			switch present := c.connect.Present; {
			case present && want == absent:
				r.about("present", "%s: session present = 1 on connection %d to %s after %v, where no session can be", client, c.connect.Conn, c.connect.Node, c.connect.Return)
			case !present && want == present1:
				r.about("lost", "%s: session present = 0 on connection %d to %s after %v, before the session's expiry", client, c.connect.Conn, c.connect.Node, c.connect.Return)
			}
		}
	}
	w.contents(&r)
	return r.sorted()
}

// presence is what session present has to be.
type presence int

const (
	either presence = iota
	absent
	present1
)

// model says what a CONNECT has to find after those before it.
func model(before []*conn, c *conn, o Options) presence {
	if c.connect.Clean || len(before) == 0 {
		return absent
	}
	last := before[len(before)-1]
	ended, expiry := last.over(c)
	switch {
	case expiry == 0:
		return absent // [MQTT-3.1.2-23], E3
	case expiry == history.Forever, c.connect.Return < ended.invoke+expiry:
		return present1
	case c.connect.Invoke > ended.ret+expiry+o.ExpiryBound:
		return absent
	}
	return either
}

// over is when c's connection ended, as the server may have seen it, at the
// latest by the takeover of next; and the session expiry then.
func (c *conn) over(next *conn) (ended span, expiry time.Duration) {
	ended, expiry = never, c.connect.Expiry
	if c.end != nil {
		ended = span{c.end.Invoke, c.end.Return + c.connect.KeepAlive*3/2}
		expiry = c.end.Expiry
	}
	if next != nil {
		ended.invoke = min(ended.invoke, next.connect.Invoke)
		ended.ret = min(ended.ret, next.connect.Return)
	}
	return ended, expiry
}

// raced says whether another CONNECT of the client was under way meanwhile; then
// nobody knows which came first.
func raced(cs []*conn, i int) bool {
	a := cs[i].connect
	for j, c := range cs {
		if b := c.connect; j != i && a.Invoke <= b.Return && b.Invoke <= a.Return {
			return true
		}
	}
	return false
}

// unless weakens want by u, a CONNECT of the same client that had no answer when
// c got one.
func (want presence) unless(u *history.Event, c *conn, o Options) presence {
	if u.Invoke > c.connect.Return || u.Invoke+o.Late < c.connect.Invoke || c.connect.Clean {
		return want
	}
	switch {
	case want == absent && u.Expiry > 0:
		return either // it may have made one
	case want == present1 && (u.Clean || u.Expiry < c.connect.Expiry):
		return either // it may have ended it
	}
	return want
}

// contents holds what UNSUBACK says of a session, and what it delivers, against
// the subscriptions that it can have.
func (w *world) contents(r *report) {
	for i, l := range w.lives {
		if i > 0 && w.lives[i-1].client == l.client {
			for _, d := range l.delivered {
				if !l.mayGet(d) && w.lives[i-1].mayGet(d) {
					r.about("content", "%s got %q after session present = 0, by a subscription of the session before", l.client, d.Payload)
				}
			}
		}
	}
	of := w.publishers()
	for i := range w.h.Events {
		e := &w.h.Events[i]
		if l := of[e.Client][e.Conn]; l != nil && e.Op == history.Unsubscribe && e.Outcome == history.OK {
			certain, possible := l.had(e)
			switch {
			case e.Reason == mqtt.NoSubscriptionExisted && certain:
				r.about("content", "%s has lost its subscription to %q, as UNSUBACK on connection %d says", e.Client, e.Filter, e.Conn)
			case e.Reason == mqtt.Success && !possible:
				r.about("content", "%s has a subscription to %q that it cannot have, as UNSUBACK on connection %d says", e.Client, e.Filter, e.Conn)
			}
		}
	}
}

// had says what l had of a filter when UNSUBSCRIBE e came.
func (l *life) had(e *history.Event) (certain, possible bool) {
	group, filter := split(e.Filter)
	for _, s := range l.subs {
		if s.group == group && s.filter == filter {
			certain = certain || s.certain(e.Invoke, e.Invoke)
			possible = possible || s.possible(e.Invoke, e.Return)
		}
	}
	return certain, possible
}
