package chaos

import (
	"flag"
	"testing"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/history"
)

var judgeFlag = flag.String("chaos.judge", "", "folder of a history to be judged again by TestJudge")

// TestJudge hands a history that a run has kept to the checkers again.
func TestJudge(t *testing.T) {
	if *judgeFlag == "" {
		t.Skip("left out without -chaos.judge")
	}
	h, err := history.ReadDir(*judgeFlag)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range h.Faults {
		t.Logf("%v: %s %s %s", f.At, f.Kind, f.Node, f.Text)
	}
	tell(t, check.History(h, check.DefaultOptions()))
}
