package check

import (
	"slices"
	"time"

	"dunlin/e2e/chaos/history"
)

// Window is a time in which some nodes, a majority that reached each other, had
// to serve.
type Window struct {
	From, To time.Duration
	Nodes    []string
}

// Progress: probes are clients that publish with QoS >= 1 all the time, each to
// one node and shard. After each healing every one has a success within bound;
// and in a window no probe of a serving node goes without for longer than bound.
func Progress(h *history.History, probes []string, heals []time.Duration, windows []Window, bound time.Duration) []Violation {
	r := report{rule: "progress"}
	h.Sort()
	done, tried := make(map[string][]*history.Event), make(map[string][]*history.Event)
	for i := range h.Events {
		e := &h.Events[i]
		if e.Op != history.Publish || e.QoS == 0 {
			continue
		}
		tried[e.Client] = append(tried[e.Client], e)
		if e.Outcome == history.OK {
			done[e.Client] = append(done[e.Client], e)
		}
	}
	for _, p := range probes {
		for _, heal := range heals {
			if !answered(done[p], heal, heal+bound, nil) {
				r.about("heal", "%s: nothing acknowledged within %v after the healing at %v", p, bound, heal)
			}
		}
		for _, w := range windows {
			if !leads(tried[p], w.Nodes) {
				continue
			}
			for from := w.From; from+bound <= w.To; from += bound / 2 {
				if !answered(done[p], from, from+bound, w.Nodes) {
					r.about("majority", "%s: nothing acknowledged from %v for %v although a majority was there", p, from, bound)
					break
				}
			}
		}
	}
	return r.sorted()
}

// answered says whether an operation was acknowledged between two times by one of
// the nodes, any if there are none; it may have been sent before.
func answered(done []*history.Event, from, to time.Duration, nodes []string) bool {
	for _, e := range done {
		if e.Return >= from && e.Return <= to && (nodes == nil || slices.Contains(nodes, e.Node)) {
			return true
		}
	}
	return false
}

// leads says whether the probe has to do with any of these nodes at all.
func leads(tried []*history.Event, nodes []string) bool {
	for _, e := range tried {
		if slices.Contains(nodes, e.Node) {
			return true
		}
	}
	return false
}
