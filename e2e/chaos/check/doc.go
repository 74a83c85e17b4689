// Package check judges histories: each checker is a pure function that holds one
// promise of the cluster against what clients saw and returns what broke it. A
// checker takes an unknown outcome for every one that it may have had, so that
// what it reports is a fault for certain; each has a planted bug in its tests
// that it must report.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dunlin/e2e/chaos/history"
)

// Violation is one broken promise.
type Violation struct {
	Rule string // the checker, and what of it: "lost", "order: dup"
	Text string
}

func (v Violation) String() string { return v.Rule + ": " + v.Text }

// Options are what a run promises beyond the protocol, and how late things may
// be.
type Options struct {
	// Excused is how many messages the cluster counted as dropped, by announced
	// limits, per client identifier.
	Excused map[string]int
	// QoS0 holds messages of QoS 0 to the subscribe checker too: for runs in
	// which no node dies and no stream breaks.
	QoS0 bool
	// WillBound is how late a will may be beyond its delay, the detection of its
	// connection's end included.
	WillBound time.Duration
	// ExpiryBound is how late a session may expire.
	ExpiryBound time.Duration
	// Late is how long a CONNECT without answer may still take effect.
	Late time.Duration
}

// DefaultOptions are those of a three-node cluster under faults.
func DefaultOptions() Options {
	return Options{
		WillBound:   20 * time.Second,
		ExpiryBound: 20 * time.Second,
		Late:        90 * time.Second,
	}
}

// History runs every checker that needs nothing but a history.
func History(h *history.History, o Options) []Violation {
	w := read(h)
	return slices.Concat(lost(w, o), invented(w), twice(w), order(w), session(w, o), owner(w),
		subscribed(w, o), retained(w), will(w, o), shared(w))
}

// report collects violations of one rule.
type report struct {
	rule  string
	found []Violation
}

func (r *report) add(format string, args ...any) {
	r.found = append(r.found, Violation{r.rule, fmt.Sprintf(format, args...)})
}

// about is add for a part of the rule.
func (r *report) about(part, format string, args ...any) {
	r.found = append(r.found, Violation{r.rule + ": " + part, fmt.Sprintf(format, args...)})
}

// sorted orders the report, which may come from walks over maps.
func (r *report) sorted() []Violation {
	slices.SortFunc(r.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Text, b.Text))
	})
	return r.found
}
