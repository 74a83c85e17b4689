package check

import (
	"time"

	"dunlin/e2e/chaos/history"
)

// shared (P9): the members of a group together get every acknowledged message of
// QoS >= 1, and none of QoS 2 or 0 twice, unless its outcome is unknown. What
// went to a member of an ended session with QoS 2 ended with it; what an
// ephemeral group had on the node that took the message is lost with that node.
func shared(w *world) []Violation {
	r := report{rule: "shared"}
	for name, g := range w.groups() {
		for _, p := range w.order {
			if p.Payload == "" || !matches(g.filter, p.Topic) {
				continue
			}
			switch n := g.got(p); {
			case n > 1 && p.QoS != 1 && p.Outcome == history.OK:
				r.about("twice", "%q of QoS %d came %d times to the group %s", p.Payload, p.QoS, n, name)
			case n == 0 && p.Outcome == history.OK && p.QoS > 0 && g.owed(p, w.h):
				r.about("lost", "%q, acknowledged after %v, came to no member of the group %s", p.Payload, p.Return, name)
			}
		}
	}
	return r.sorted()
}

// group is all subscriptions to one shared filter.
type group struct {
	filter  string
	members []member
}

type member struct {
	life *life
	sub  *subscription
}

func (w *world) groups() map[string]*group {
	gs := make(map[string]*group)
	for _, l := range w.lives {
		for _, s := range l.subs {
			if s.group == "" {
				continue
			}
			name := "$share/" + s.group + "/" + s.filter
			if gs[name] == nil {
				gs[name] = &group{filter: s.filter}
			}
			gs[name].members = append(gs[name].members, member{l, s})
		}
	}
	return gs
}

// got counts the fresh deliveries of p to members, each life once however often
// it subscribed. A member that may have had p by an ordinary filter counts for
// nothing beyond its first.
func (g *group) got(p *history.Event) (n int) {
	counted := make(map[*life]bool)
	for _, m := range g.members {
		if counted[m.life] {
			continue
		}
		counted[m.life] = true
		got := m.life.got[p.Payload]
		if m.life.ordinary(p.Topic) {
			got = min(got, 1)
		}
		n += got
	}
	return n
}

// owed says that some member was there all the time from p to its drain and
// nothing excuses that p did not come.
func (g *group) owed(p *history.Event, h *history.History) bool {
	var until time.Duration
	persistent, ended := false, false
	for _, m := range g.members {
		persistent = persistent || m.life.persistent() && m.sub.possible(p.Invoke, p.Return)
		drained := false
		for _, d := range m.life.drains {
			if d.Invoke >= p.Return && m.sub.qos > 0 && m.sub.certain(p.Invoke, d.Invoke) {
				until, drained = max(until, d.Invoke), true
			}
		}
		ended = ended || !drained && m.sub.possible(p.Invoke, history.Never)
	}
	switch {
	case until == 0:
		return false
	case p.QoS == 2 && ended: // perhaps it had been sent to the one that ended [MQTT-4.8.2-5]
		return false
	case !persistent && h.Dead(p.Node, p.Invoke, until):
		return false
	}
	return p.Expiry == 0 || until-p.Invoke < p.Expiry
}
