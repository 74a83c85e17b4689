package check

import (
	"maps"
	"slices"
	"time"

	"dunlin/e2e/chaos/history"
)

// Window is a time in which some nodes, which reached a majority, had to serve.
type Window struct {
	From, To time.Duration
	Nodes    []string
	Bound    time.Duration // no longer than this without a success
}

// Progress: probes are clients that publish with QoS >= 1 all the time, each to
// one node and on topics that different shards hold. After each healing every one
// has a success on every topic within bound; and in a window no probe of a serving
// node goes without on any for longer than the window's bound.
func Progress(h *history.History, probes []string, heals []time.Duration, windows []Window, bound time.Duration) []Violation {
	r := report{rule: "progress"}
	h.Sort()
	type probe struct{ client, topic string }
	done, tried := make(map[probe][]*history.Event), make(map[probe][]*history.Event)
	for i := range h.Events {
		e := &h.Events[i]
		if e.Op != history.Publish || e.QoS == 0 || !slices.Contains(probes, e.Client) {
			continue
		}
		p := probe{e.Client, e.Topic}
		tried[p] = append(tried[p], e)
		if e.Outcome == history.OK {
			done[p] = append(done[p], e)
		}
	}
	for _, client := range probes {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(tried)), func(p probe) bool { return p.client == client }) {
			r.add("%s has never published", client)
		}
	}
	for p, all := range tried {
		for _, heal := range heals {
			if !answered(done[p], heal, heal+bound, nil) {
				r.about("heal", "%s on %s: nothing acknowledged within %v after the healing at %v", p.client, p.topic, bound, heal)
			}
		}
		for _, w := range windows {
			if !leads(all, w.Nodes) {
				continue
			}
			for from := w.From; from+w.Bound <= w.To; from += w.Bound / 2 {
				if !answered(done[p], from, from+w.Bound, w.Nodes) {
					r.about("majority", "%s on %s: nothing acknowledged from %v for %v although a majority was there", p.client, p.topic, from, w.Bound)
					break
				}
			}
		}
	}
	return r.sorted()
}

// Gap is the longest time between two times in which a probe had no success on
// any topic.
func Gap(h *history.History, probe string, from, to time.Duration) (longest time.Duration) {
	h.Sort()
	var at []time.Duration
	for i := range h.Events {
		e := &h.Events[i]
		if e.Op == history.Publish && e.Client == probe && e.QoS > 0 && e.Outcome == history.OK && e.Return > from && e.Return < to {
			at = append(at, e.Return)
		}
	}
	slices.Sort(at)
	last := from
	for _, t := range append(at, to) {
		longest = max(longest, t-last)
		last = t
	}
	return longest
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
