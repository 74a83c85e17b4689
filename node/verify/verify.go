package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Node is a member.
type Node struct{ Identity, Name string }

// Options say what is verified, and how.
type Options struct {
	Ask          Asker
	Nodes        func() []Node
	Shards       int
	SessionShard func(client string) int
	// Patience is how long what differs is asked again; what only a later step
	// compares has had some of it already.
	Patience time.Duration
	// Report is called with what is being done.
	Report func(step string)
}

// Finding is something that does not agree.
type Finding struct {
	Kind   string `json:"kind"`
	Shard  int    `json:"shard"`            // -1: of none
	Node   string `json:"node,omitempty"`   // name
	Client string `json:"client,omitempty"` // identifier
	Text   string `json:"text"`

	// With these it is known again when it is asked once more.
	of   string // whose it is of two
	at   uint64 // an epoch, or where it stood: elsewhere it is another
	lags bool   // if it stands elsewhere each time, it could not be compared
}

// String is the finding on one line.
func (f Finding) String() string {
	var b strings.Builder
	if f.Shard >= 0 {
		fmt.Fprintf(&b, "shard %d: ", f.Shard)
	}
	if f.Node != "" {
		fmt.Fprintf(&b, "node %s: ", f.Node)
	}
	if f.Client != "" {
		fmt.Fprintf(&b, "client %s: ", strconv.Quote(f.Client))
	}
	return b.String() + f.Text
}

// key is what does not change while it stays the same finding.
func (f Finding) key() Finding { f.Text = ""; return f }

// Result is what a verification came to.
type Result struct {
	Findings []Finding `json:"findings"` // what does not agree
	Unsure   []Finding `json:"unsure"`   // what changed all the while, so that it could not be compared
}

// Run verifies the cluster. An error says that it could not.
func Run(ctx context.Context, o Options) (res Result, err error) {
	all := make([]int, o.Shards)
	for i := range all {
		all[i] = i
	}
	r := run{Options: o, silent: map[string]bool{}}
	begun := time.Now()
	for _, check := range []struct {
		step string
		do   func(ctx context.Context, shards []int) []Finding
	}{
		{"replicas", r.replicas}, {"routes", r.routes}, {"sessions", r.sessions},
	} {
		found, unsure := r.settle(ctx, check.step, all, check.do, max(o.Patience-time.Since(begun), o.Patience/4))
		for _, f := range found {
			if f.Kind == "silent" {
				r.silent[f.of] = true
			}
		}
		res.Findings, res.Unsure = append(res.Findings, found...), append(res.Unsure, unsure...)
		if err := ctx.Err(); err != nil {
			return res, err
		}
	}
	slices.SortFunc(res.Findings, compare)
	slices.SortFunc(res.Unsure, compare)
	return res, nil
}

func compare(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Client, b.Client),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.of, b.of), cmp.Compare(a.at, b.at))
}

// run is a verification under way.
type run struct {
	Options
	silent map[string]bool // nodes that did not answer in an earlier step: they are not asked again
}

// The first pauses are short: most differences are a message under way.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 4 * time.Second
	askTimeout = 30 * time.Second
)

// settle asks again what differs, of the shards in question, until it does not any
// more or patience is over.
func (r *run) settle(
	ctx context.Context, step string, shards []int, check func(context.Context, []int) []Finding, patience time.Duration,
) (found, unsure []Finding) {
	r.Report(step)
	found = check(ctx, shards)
	latest := found
	pause := firstPause
	for begun := time.Now(); len(latest) > 0 && time.Since(begun) < patience; pause = min(2*pause, maxPause) {
		r.Report(fmt.Sprintf("%s: %d differ, asking again", step, len(latest)))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil
		}
		latest = check(ctx, shardsOf(latest))
		found = slices.DeleteFunc(found, func(f Finding) bool { return !contains(latest, f) })
		for _, f := range latest { // one that is new has half the time as well
			if !contains(found, f) && time.Since(begun) < patience/2 {
				found = append(found, f)
			}
		}
	}
	for _, f := range latest {
		if f.lags && !contains(found, f) {
			unsure = append(unsure, f)
		}
	}
	return found, unsure
}

func contains(all []Finding, f Finding) bool {
	return slices.ContainsFunc(all, func(o Finding) bool { return o.key() == f.key() })
}

func shardsOf(all []Finding) (shards []int) {
	for _, f := range all {
		if f.Shard >= 0 && !slices.Contains(shards, f.Shard) {
			shards = append(shards, f.Shard)
		}
	}
	slices.Sort(shards)
	return shards
}

// silent is the finding that a node does not answer.
func silent(n Node, shard int, err error) Finding {
	return Finding{Kind: "silent", Shard: shard, Node: n.Name, of: n.Identity, Text: "it does not answer: " + err.Error()}
}

// nameOf is the name of a node that may not be a member.
func nameOf(nodes []Node, identity string) string {
	for _, n := range nodes {
		if n.Identity == identity {
			return n.Name
		}
	}
	return identity
}
