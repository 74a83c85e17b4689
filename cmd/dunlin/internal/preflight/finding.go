package preflight

import "fmt"

// Finding is what one limit means for a plan.
type Finding struct {
	Subject string  `json:"subject"` // "open files of a process"
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Needed  string  `json:"needed,omitempty"`
	// Why is what happens where the limit is not enough, or why it could not be
	// compared.
	Why string `json:"why,omitempty"`
	// Change is how to change it; any of them does.
	Change []string `json:"change,omitempty"`
}

// Verdict is whether a limit is enough.
type Verdict string

const (
	Enough  Verdict = "enough"
	Tight   Verdict = "tight"   // it goes on, and figures suffer
	Short   Verdict = "short"   // some of the connections will fail
	Unknown Verdict = "unknown" // it was not compared
)

// Worst is the verdict over all findings: short before tight before enough. One
// that is unknown changes nothing.
func Worst(findings []Finding) Verdict {
	worst := Enough
	for _, f := range findings {
		if f.Verdict == Short || f.Verdict == Tight && worst == Enough {
			worst = f.Verdict
		}
	}
	return worst
}

// String is the finding in one line, without the commands.
func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s", f.Subject, f.Found)
	if f.Needed != "" {
		s += ", needs " + f.Needed
	}
	if f.Why != "" && f.Verdict != Enough {
		s += "; " + f.Why
	}
	return s
}

// verdict is Enough up to tight, Tight up to limit, Short beyond.
func verdict(needed, tight, limit uint64) Verdict {
	switch {
	case needed > limit:
		return Short
	case needed > tight:
		return Tight
	}
	return Enough
}
