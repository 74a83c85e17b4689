package check

import (
	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// subscribed (P4): what is published after a SUBACK came is delivered until
// UNSUBSCRIBE; what is published after UNSUBACK came is not.
func subscribed(w *world, o Options) []Violation {
	r := report{rule: "subscribe"}
	for _, l := range w.lives {
		if !l.persistent() { // those are the lost checker's
			least := mqtt.QoS(1)
			if o.QoS0 {
				least = 0
			}
			for _, p := range l.missing(w, least) {
				r.add("%q, published on %s after the SUBACK of %s, never came", p.Payload, p.Node, l.client)
			}
		}
		for _, d := range l.delivered {
			if p := w.published[d.Payload]; p != nil && p.Op == history.Publish && l.left(p) {
				r.about("after", "%q, published after the UNSUBACK of %s, came", p.Payload, l.client)
			}
		}
	}
	return r.sorted()
}

// left says that every subscription of l to p's topic had certainly ended when p
// was sent.
func (l *life) left(p *history.Event) bool {
	var some bool
	for _, s := range l.subs {
		if matches(s.filter, p.Topic) {
			some = true
			if s.possible(p.Invoke, history.Never) {
				return false
			}
		}
	}
	return some
}
