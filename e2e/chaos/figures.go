package chaos

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/history"
)

// figures sum a run up.
type figures struct {
	scenario  string
	lasted    time.Duration // the faults
	faults    int
	connects  int // that were accepted
	acked     int // messages of QoS > 0
	delivered int
	unknown   float64       // part of claims and retained operations without answer
	gap       time.Duration // the longest that a probe had nothing acknowledged
	lost      int
	twice     int
	order     int
	session   int
	others    int // of what the checkers found
}

// sum counts a history and what was found in it. Probes are looked at between
// two times.
func sum(h *history.History, found []check.Violation, probes []string, from, to time.Duration) (f figures) {
	f.lasted, f.unknown = to-from, check.UnknownShare(h)
	for _, x := range h.Faults {
		if x.Kind != "heal" && x.Kind != history.Killing && !strings.HasPrefix(x.Kind, "end of ") {
			f.faults++
		}
	}
	for i := range h.Events {
		switch e := &h.Events[i]; {
		case e.Op == history.Deliver:
			f.delivered++
		case e.Outcome != history.OK:
		case e.Op == history.Connect:
			f.connects++
		case e.Op == history.Publish && e.QoS > 0:
			f.acked++
		}
	}
	for _, p := range probes {
		f.gap = max(f.gap, check.Gap(h, p, from, to))
	}
	for _, v := range found {
		rule, _, _ := strings.Cut(v.Rule, ":")
		switch rule {
		case "lost", "shared":
			f.lost++
		case "twice":
			f.twice++
		case "order":
			f.order++
		case "session":
			f.session++
		default:
			f.others++
		}
	}
	return f
}

// tell fails the test with what was found, the first few of each rule.
func tell(t testing.TB, found []check.Violation) {
	t.Helper()
	const few = 6
	count := make(map[string]int)
	for _, v := range found {
		if count[v.Rule]++; count[v.Rule] <= few {
			t.Error(v)
		}
	}
	for rule, n := range count {
		if n > few {
			t.Errorf("%s: %d in all", rule, n)
		}
	}
}

// printFigures prints runs as a table, in the form of the documents.
func printFigures(w io.Writer, all []figures) {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| faults\t| lasted\t| number\t| connects\t| acknowledged\t| delivered\t| lost\t| QoS 2 twice\t| out of order\t| session wrong\t| other findings\t| unknown\t| longest gap of a node\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, f := range all {
		fmt.Fprintf(t, "| %s\t| %v\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %.2f %%\t| %v\t|\n",
			f.scenario, f.lasted.Round(time.Second), f.faults, f.connects, f.acked, f.delivered,
			f.lost, f.twice, f.order, f.session, f.others, 100*f.unknown, f.gap.Round(10*time.Millisecond))
	}
	t.Flush()
}
