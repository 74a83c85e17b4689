package drain

import (
	"cmp"
	"slices"
)

// Load is how many clients a node has that takes clients.
type Load struct {
	Node    string
	Clients int
}

// Part is what a node is to do so that connections are spread evenly: ask clients to go, at
// most so many in a second, until it has no more than Keep.
type Part struct {
	Node string
	Keep int // at least what each would have if all had as many
	Asks int // clients that it has beyond that
	Rate int
}

// slack is what a node may have beyond the average before anybody is sent elsewhere for that:
// a twentieth, and a few.
func slack(average int) int { return max(average/20, 4) }

// Plan says which nodes have more than their part of the connections, by how much, and how
// fast they ask the excess to go: no more than rate in a second together, which is positive.
// Nobody is asked below the average, and each excess is asked to go once: where those who go
// come to is not this plan's to say, and another one may follow. The order of loads decides
// nothing.
func Plan(loads []Load, rate int) []Part {
	if len(loads) < 2 {
		return nil
	}
	total := 0
	for _, l := range loads {
		total += l.Clients
	}
	average := (total + len(loads) - 1) / len(loads)
	var parts []Part
	excess := 0
	for _, l := range loads {
		if l.Clients > average+slack(average) {
			parts = append(parts, Part{Node: l.Node, Keep: average, Asks: l.Clients - average})
			excess += l.Clients - average
		}
	}
	slices.SortFunc(parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(b.Asks, a.Asks), cmp.Compare(a.Node, b.Node))
	})
	parts = parts[:min(len(parts), rate)] // a part below one in a second is none: the fullest come first
	left := rate
	for i := range parts {
		rest := len(parts) - 1 - i // who are to have one each
		parts[i].Rate = min(max(rate*parts[i].Asks/excess, 1), left-rest)
		left -= parts[i].Rate
	}
	return parts
}
