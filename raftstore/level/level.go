// Package level answers: what does every node of the cluster understand?
//
// Two adjacent releases work in one cluster, and a node of either may lead it. A node that
// meets a log entry, a snapshot or a message that it does not know stops, for it would part
// from the others if it went on (D6). So what a release brings that the one before does not
// know gets a Level, and no node writes it before that level is in force: before all nodes of
// the cluster have said that they understand it. The group meta decides that, in its log
// (meta.Raise), and never takes it back. A release that does not understand what is in force
// cannot enter the cluster any more; one that still does can come back.
//
// Whoever brings a new command, a new field of one, a new kind of question to other nodes or
// a new section of a snapshot adds a Level here, and asks where it is proposed or sent:
//
//	if state.InForce(level.NodeRelease) { ... } // *meta.State; or Control.InForce
//
// What a shard does with an entry never depends on the level, since replicas apply the entry
// at different moments: it depends on what is in the entry, which its proposer chose.
// Likewise Apply is never mended for entries that there are: what is mended is another kind,
// or a field that tells.
package level

import "fmt"

// Level numbers what releases have brought, in that order: whoever understands one understands
// all below. 0 stands for First, in what was written before there were levels.
type Level uint32

// The levels there are. Each is of one release, or of one step between two of them.
const (
	// First is what nodes understand that say nothing of levels.
	First Level = 1 + iota
	// NodeRelease: meta.Enter says which release a node runs, and what it understands.
	NodeRelease
)

// Newest is the highest that this release understands.
const Newest = NodeRelease

// Span is the levels that a release can work at. Its zero value is that of a release that says
// nothing: First alone.
type Span struct {
	Oldest Level `json:"oldest,omitempty"`
	Newest Level `json:"newest,omitempty"`
}

// Known is what this release can work at.
func Known() Span { return Span{Oldest: First, Newest: Newest} }

// Told is s with what its zero value stands for.
func (s Span) Told() Span { return Span{Oldest: max(s.Oldest, First), Newest: max(s.Newest, First)} }

// Holds says whether such a release can work at l.
func (s Span) Holds(l Level) bool {
	s, l = s.Told(), max(l, First)
	return s.Oldest <= l && l <= s.Newest
}

// String is "2", or "1 to 2".
func (s Span) String() string {
	if s = s.Told(); s.Oldest == s.Newest {
		return fmt.Sprint(s.Newest)
	}
	return fmt.Sprintf("%d to %d", s.Oldest, s.Newest)
}

// Error says that a release cannot work at the level of the cluster: it may not enter, and must
// not go on when that is what its log says.
type Error struct {
	Level Level // in force
	Known Span  // what the release can work at
}

func (e *Error) Error() string {
	return fmt.Sprintf("the cluster is at level %d, which is never taken back, and this release can work at %v: start one that can work at that",
		max(e.Level, First), e.Known)
}
