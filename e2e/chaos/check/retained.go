package check

import (
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"dunlin/e2e/chaos/history"
)

// retained (P8): each topic is a linearizable register. A write is a retained
// PUBLISH to its acknowledgement, without payload a deletion; a read is what
// Read recorded. And the live flow goes on where the read ended: it neither
// leaves out a message nor repeats one. A write of QoS 1 that was sent again may
// happen a second time, at any time (R1). A read that found nothing while a write
// went on past its end says nothing: that write was left to the live flow, which
// brings it before it is acknowledged.
//
// Topics on which somebody leaves a retained will are left to the will checker.
func retained(w *world) []Violation {
	r := report{rule: "retained"}
	type op struct {
		write   bool
		payload string
	}
	topics := make(map[string][]porcupine.Operation)
	writes := make(map[string][]*history.Event)
	for i := range w.h.Events {
		if e := &w.h.Events[i]; e.Op == history.Publish && e.Retain && e.Outcome == history.OK {
			writes[e.Topic] = append(writes[e.Topic], e)
		}
	}
	wills := make(map[string]bool)
	for i := range w.h.Events {
		e := &w.h.Events[i]
		o := op{payload: e.Payload}
		switch {
		case e.Op == history.Connect && e.Will && e.Retain:
			wills[e.Topic] = true
			continue
		case e.Op == history.Publish && e.Retain && e.Outcome != history.Fail:
			o.write = true
		case e.Op == history.Read && e.Outcome == history.OK && !leftToLive(e, writes[e.Topic]):
		default:
			continue
		}
		topics[e.Topic] = append(topics[e.Topic], porcupine.Operation{Input: o, Call: int64(e.Invoke), Return: int64(e.Return)})
		if o.write && repeated(e) {
			topics[e.Topic] = append(topics[e.Topic], porcupine.Operation{Input: o, Call: int64(e.Invoke), Return: int64(history.Never)})
		}
	}
	model := porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			o := input.(op)
			if o.write {
				return true, o.payload
			}
			return state == o.payload, state
		},
	}
	for topic, ops := range topics {
		if wills[topic] {
			continue
		}
		if verdict := porcupine.CheckOperationsTimeout(model, ops, undecided); verdict != porcupine.Ok {
			r.add("%q: %d reads and writes fit no order of a register (%s)", topic, len(ops), verdict)
		}
	}
	w.seams(&r)
	return r.sorted()
}

// leftToLive says that read found nothing, and one of the writes to its topic was
// under way at its end.
func leftToLive(read *history.Event, writes []*history.Event) bool {
	return read.Payload == "" && slices.ContainsFunc(writes, func(p *history.Event) bool {
		return p.Payload != "" && p.Invoke < read.Return && p.Return > read.Return
	})
}

// repeated says that p has QoS 1 and was not answered on the connection that it was
// first sent on.
func repeated(p *history.Event) bool { return p.QoS == 1 && p.AckConn != p.Conn }

// seams looks at the place where replay ends and the live flow begins: per read
// on a topic with one writer, whose writes all succeeded with QoS >= 1.
func (w *world) seams(r *report) {
	writes := make(map[string][]*history.Event)
	for _, p := range w.order {
		if p.Retain {
			writes[p.Topic] = append(writes[p.Topic], p)
		}
	}
	of := w.publishers()
	for i := range w.h.Events {
		e := &w.h.Events[i]
		if e.Op != history.Read || e.Outcome != history.OK || e.Payload == "" || !plain(writes[e.Topic]) {
			continue
		}
		l := of[e.Client][e.Conn]
		if l == nil {
			continue
		}
		// What came on this connection after the read, and before the filter was
		// withdrawn, is the live flow.
		until := w.withdrawn(e)
		at := slices.IndexFunc(writes[e.Topic], func(p *history.Event) bool { return p.Payload == e.Payload })
		for _, d := range l.delivered {
			if d.Conn != e.Conn || d.Topic != e.Topic || d.Invoke <= e.Return || d.Invoke >= until || d.Retain {
				continue
			}
			next := slices.IndexFunc(writes[e.Topic], func(p *history.Event) bool { return p.Payload == d.Payload })
			switch {
			case at < 0 || next < 0:
			case next <= at && d.Fresh && !d.Dup:
				r.about("seam", "%s got %q live, after it had read %q", e.Client, d.Payload, e.Payload)
			case next > at+1:
				r.about("seam", "%s got %q next after it had read %q: %d between are missing", e.Client, d.Payload, e.Payload, next-at-1)
			}
			break
		}
	}
}

// withdrawn is when the filter that a read has subscribed to was withdrawn.
func (w *world) withdrawn(read *history.Event) time.Duration {
	for i := range w.h.Events {
		e := &w.h.Events[i]
		if e.Client == read.Client && e.Conn == read.Conn && e.Op == history.Unsubscribe && e.Filter == read.Topic && e.Invoke >= read.Return {
			return e.Invoke
		}
	}
	return history.Never
}

// plain says that all writes have one writer, a payload, and succeeded once with
// QoS >= 1.
func plain(writes []*history.Event) bool {
	for _, p := range writes {
		if p.Client != writes[0].Client || p.Outcome != history.OK || p.QoS == 0 || p.Payload == "" || repeated(p) {
			return false
		}
	}
	return len(writes) > 0
}

// Reads (P8): when all is well, as it was since then, no read stays without an
// answer.
func Reads(h *history.History, since time.Duration) []Violation {
	r := report{rule: "retained"}
	readers := make(map[string]bool)
	for i := range h.Events {
		if e := &h.Events[i]; e.Op == history.Read {
			readers[e.Client] = true
		}
	}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Invoke > since && e.Outcome == history.Unknown && (e.Op == history.Read || e.Op == history.Subscribe && readers[e.Client]) {
			r.about("stuck", "%s has no end of its %s of %q at %s, begun after %v", e.Client, e.Op, e.Topic+e.Filter, e.Node, e.Invoke)
		}
	}
	return r.sorted()
}

// UnknownShare is the part of the operations on registers, claims and retained
// messages, that had no answer. Beyond 0.01 porcupine becomes blind.
func UnknownShare(h *history.History) float64 {
	var all, unknown int
	for i := range h.Events {
		switch e := &h.Events[i]; {
		case e.Op == history.Connect, e.Op == history.Publish && e.Retain, e.Op == history.Read:
			all++
			if e.Outcome == history.Unknown {
				unknown++
			}
		}
	}
	return float64(unknown) / float64(max(all, 1))
}
