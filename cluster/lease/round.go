package lease

import (
	"slices"
	"time"
)

// quorum collects the voters of one set that have agreed to something.
type quorum struct {
	voters []string
	yes    map[string]bool
}

func newQuorum(voters []string) quorum {
	return quorum{voters: voters, yes: make(map[string]bool)}
}

// add notes a voter's yes.
func (q *quorum) add(voter string) {
	if slices.Contains(q.voters, voter) {
		q.yes[voter] = true
	}
}

// reached says that a majority has agreed.
func (q *quorum) reached() bool { return len(q.yes) >= majority(len(q.voters)) }

func majority(n int) int { return n/2 + 1 }

// round is one time that a lease was asked for.
type round struct {
	quorum
	sent time.Time // before the first ask of it
}

// until is when the lease ends that the round is worth; zero for none.
func (r *round) until(term time.Duration) time.Time {
	if !r.reached() {
		return time.Time{}
	}
	return r.sent.Add(term)
}
