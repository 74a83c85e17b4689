package check

import (
	"cmp"
	"slices"
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// world is a history laid out for the checkers: what was published, and the
// lives of the sessions.
type world struct {
	h         *history.History
	published map[string]*history.Event // by payload; a will is one too, its Op is Connect
	order     []*history.Event          // the publishes, by Invoke
	clients   map[string][]*conn        // connections that were accepted, by CONNACK
	lives     []*life
}

// conn is one connection that was accepted.
type conn struct {
	connect *history.Event
	end     *history.Event // nil: still open
	life    *life
}

// life is one session from a CONNACK without session present to the next.
type life struct {
	client    string
	conns     []*conn
	until     time.Duration // the next life's CONNECT; Never
	subs      []*subscription
	delivered []*history.Event
	got       map[string]int // fresh deliveries by payload
	drains    []*history.Event
	perhaps   []*history.Event // SUBSCRIBE and UNSUBSCRIBE without answer
}

// persistent says whether the session outlives its connections.
func (l *life) persistent() bool { return l.conns[len(l.conns)-1].connect.Expiry > 0 }

// subscription is one filter of one life, from a SUBSCRIBE to the first
// UNSUBSCRIBE after it. It lies certainly between from.Return and to.Invoke,
// possibly between from.Invoke and to.Return.
type subscription struct {
	filter  string // without $share/group/
	group   string
	qos     mqtt.QoS
	noLocal bool
	from    span
	to      span
	client  string
}

// span is an operation's time; both ends are Never where there was none.
type span struct{ invoke, ret time.Duration }

var never = span{history.Never, history.Never}

// certain says that s holds from at to until.
func (s *subscription) certain(at, until time.Duration) bool {
	return s.from.ret <= at && until <= s.to.invoke
}

// possible says that s may hold at some time between the two.
func (s *subscription) possible(from, to time.Duration) bool {
	return s.from.invoke <= to && from <= s.to.ret
}

// read lays h out.
func read(h *history.History) *world {
	h.Sort()
	w := &world{h: h, published: make(map[string]*history.Event), clients: make(map[string][]*conn)}
	type key struct {
		client string
		conn   int
	}
	conns := make(map[key]*conn)
	for i := range h.Events {
		e := &h.Events[i]
		switch e.Op {
		case history.Publish:
			if e.Payload != "" { // else it deletes, and nothing tells it from others
				w.published[e.Payload] = e
			}
			w.order = append(w.order, e)
		case history.Connect:
			if e.Will {
				w.published[e.Payload] = e
			}
			if e.Outcome == history.OK {
				c := &conn{connect: e}
				conns[key{e.Client, e.Conn}] = c
				w.clients[e.Client] = append(w.clients[e.Client], c)
			}
		}
	}
	for _, cs := range w.clients {
		slices.SortFunc(cs, func(a, b *conn) int { return cmp.Compare(a.connect.Return, b.connect.Return) })
		w.lives = append(w.lives, lives(cs)...)
	}
	slices.SortFunc(w.lives, func(a, b *life) int {
		return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.conns[0].connect.Return, b.conns[0].connect.Return))
	})
	for i := range h.Events {
		e := &h.Events[i]
		c := conns[key{e.Client, e.Conn}]
		if c == nil {
			continue
		}
		switch e.Op {
		case history.End:
			c.end = e
		case history.Deliver:
			c.life.delivered = append(c.life.delivered, e)
			if e.Fresh {
				c.life.got[e.Payload]++
			}
		case history.Drain:
			c.life.drains = append(c.life.drains, e)
		case history.Subscribe:
			c.life.subscribe(e)
		case history.Unsubscribe:
			c.life.unsubscribe(e)
		}
	}
	return w
}

// lives parts the connections of one client by what CONNACK said of the session.
func lives(cs []*conn) (ls []*life) {
	for _, c := range cs {
		if !c.connect.Present || len(ls) == 0 {
			if len(ls) > 0 {
				ls[len(ls)-1].until = c.connect.Invoke
			}
			ls = append(ls, &life{client: c.connect.Client, until: history.Never, got: make(map[string]int)})
		}
		c.life = ls[len(ls)-1]
		c.life.conns = append(c.life.conns, c)
	}
	return ls
}

func (l *life) subscribe(e *history.Event) {
	if e.Outcome == history.Fail {
		return
	}
	group, filter := split(e.Filter)
	s := &subscription{
		filter: filter, group: group, qos: e.QoS, noLocal: e.NoLocal, client: l.client,
		from: span{e.Invoke, e.Return}, to: never,
	}
	if e.Outcome == history.OK {
		s.qos = min(e.QoS, mqtt.QoS(e.Reason))
	} else {
		l.perhaps = append(l.perhaps, e)
	}
	l.subs = append(l.subs, s)
}

func (l *life) unsubscribe(e *history.Event) {
	if e.Outcome == history.Fail {
		return
	}
	if e.Outcome == history.Unknown {
		l.perhaps = append(l.perhaps, e)
	}
	group, filter := split(e.Filter)
	for _, s := range l.subs {
		if s.group != group || s.filter != filter {
			continue
		}
		// One without answer ends the certainty and leaves the possibility.
		s.to.invoke = min(s.to.invoke, e.Invoke)
		if e.Outcome == history.OK {
			s.to.ret = min(s.to.ret, e.Return)
		}
	}
}

// wants says that l certainly had to be given p, published with QoS >= least, by
// the time until: a subscription that is not shared covered it all the while.
func (l *life) wants(p *history.Event, least mqtt.QoS, until time.Duration) bool {
	if p.Outcome != history.OK || p.QoS < least || p.Return > until || p.Expiry > 0 && until-p.Invoke >= p.Expiry {
		return false
	}
	for _, s := range l.subs {
		if s.group == "" && min(s.qos, p.QoS) >= least && !(s.noLocal && p.Client == l.client) &&
			s.certain(p.Invoke, until) && matches(s.filter, p.Topic) {
			return true
		}
	}
	return false
}

// ordinary says whether a filter of l that is not shared may have matched topic.
func (l *life) ordinary(topic string) bool {
	return slices.ContainsFunc(l.subs, func(s *subscription) bool { return s.group == "" && matches(s.filter, topic) })
}
