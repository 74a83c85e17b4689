package check

import (
	"slices"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// invented: every delivery was sent by someone before it came, intact, on its
// topic, no surer than it was sent, and to a session that may have subscribed to
// it.
func invented(w *world) []Violation {
	r := report{rule: "invented"}
	for _, l := range w.lives {
		for _, d := range l.delivered {
			p := w.published[d.Payload]
			if d.Payload == "" && w.deletes(d) {
				continue
			}
			switch {
			case p == nil || d.Payload == "":
				r.add("%s got %q on %q, which nobody sent", l.client, d.Payload, d.Topic)
			case p.Op == history.Publish && p.Outcome == history.Fail:
				r.add("%s got %q, which was refused with %v", l.client, d.Payload, p.Reason)
			case p.Invoke > d.Invoke:
				r.add("%s got %q after %v, sent after %v", l.client, d.Payload, d.Invoke, p.Invoke)
			case p.Topic != d.Topic:
				r.add("%s got %q on %q, sent on %q", l.client, d.Payload, d.Topic, p.Topic)
			case d.QoS > p.QoS:
				r.add("%s got %q with QoS %d, sent with %d", l.client, d.Payload, d.QoS, p.QoS)
			case !l.mayGet(d):
				r.add("%s got %q on %q without a subscription to it", l.client, d.Payload, d.Topic)
			}
		}
	}
	return r.sorted()
}

// mayGet says whether some filter of l, asked for before, matches d, and with at
// least its QoS. Whether the subscription had ended is for the subscribe checker.
func (l *life) mayGet(d *history.Event) bool {
	for _, s := range l.subs {
		asked := s.qos
		if s.from.ret == history.Never {
			asked = mqtt.QoS(2)
		}
		if s.from.invoke <= d.Invoke && d.QoS <= asked && matches(s.filter, d.Topic) {
			return true
		}
	}
	return false
}

// deletes says that d may be the live flow of somebody's deletion of a retained
// message.
func (w *world) deletes(d *history.Event) bool {
	return !d.Retain && slices.ContainsFunc(w.order, func(p *history.Event) bool {
		return p.Payload == "" && p.Retain && p.Topic == d.Topic && p.Invoke <= d.Invoke && p.Outcome != history.Fail
	})
}
