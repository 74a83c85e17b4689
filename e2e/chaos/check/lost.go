package check

import (
	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// lost (P1): what was acknowledged and matched a subscription acknowledged
// before and not ended, came to that session until it was drained, or was
// counted as dropped by an announced limit.
func lost(w *world, o Options) []Violation {
	r := report{rule: "lost"}
	for _, l := range w.lives {
		if !l.persistent() {
			continue
		}
		missing := l.missing(w, 1)
		if len(missing) <= o.Excused[l.client] {
			continue
		}
		for _, p := range missing {
			r.add("%q, acknowledged to %s on %s after %v, never came to %s", p.Payload, p.Client, p.Node, p.Return, l.client)
		}
	}
	return r.sorted()
}

// missing is what l had to be given by a time at which it was drained, and was
// not.
func (l *life) missing(w *world, least mqtt.QoS) (missing []*history.Event) {
	seen := make(map[string]bool, len(l.got))
	for _, d := range l.delivered {
		seen[d.Payload] = true
	}
	for _, drain := range l.drains {
		for _, p := range w.order {
			if p.Payload != "" && !seen[p.Payload] && l.wants(p, least, drain.Invoke) {
				missing = append(missing, p)
				seen[p.Payload] = true // once is enough
			}
		}
	}
	return missing
}
