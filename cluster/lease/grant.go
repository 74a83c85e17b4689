package lease

import (
	"slices"
	"time"

	"dunlin/raftstore/meta"
)

// voter is what one voter knows when it is asked. Its fields are read in this
// order: the log holds whatever configuration voters is of before whole is
// asked, and state is no older than what whole spoke of.
type voter struct {
	self   string
	voters []string // of the latest configuration in its log
	whole  bool     // its state holds all that its log holds
	state  *meta.State
}

// granted is when this voter granted a generation its last lease, at the latest.
// What it granted before its process began it has forgotten. And it may have had no
// part in a lease that was granted by voters of before its configuration: such a
// configuration was over before its own was logged.
func granted(last, began, configured time.Time) time.Time {
	for _, at := range [...]time.Time{began, configured} {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// agrees says whether this voter's word counts in a majority of those voters. Two
// majorities that count meet in a voter, or are of configurations so far apart
// that the later one's voters know what the earlier one's agreed to (DESIGN.md).
func (v *voter) agrees(voters []string) bool {
	return v.state != nil && slices.Equal(v.voters, voters) && slices.Contains(voters, v.self)
}

// grants decides whether a lease is granted. A voter that has not applied all that
// it has logged might not know of a revocation that it has confirmed.
func (v *voter) grants(from string, m *renew) renewed {
	if v.state == nil {
		return renewed{}
	}
	n := v.state.Nodes[m.Node]
	return renewed{
		Granted: v.agrees(m.Voters) && v.whole && n.Identity == from && n.Entitled(m.Generation),
		Ended:   fateOf(v.state, m.holder) != lasts,
	}
}

// ends says whether this voter grants no lease to that generation any more. It
// rests on what was applied, and so was logged: the voter says the same after a
// restart, once it is whole. It must be whole to know since when its configuration
// is what it is.
func (v *voter) ends(m *ended) bool {
	return v.agrees(m.Voters) && v.whole && fateOf(v.state, m.holder) != lasts
}
