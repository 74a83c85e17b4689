package raftnet

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"dunlin/cluster/field"
)

// Who stands when a leader's process is gone.
//
// A voter that finds so (detector.go says when) reports it to the group's other
// voters, with leader, term and the end of its log, and repeats that while it
// holds. Once a majority of the voters has reported the same leader and term,
// those who hear of it all see the same best follower, and that one stands. It
// waits a moment for the others, of whom one may have more of the log.
//
// What makes this safe to do without a pre-vote: a leader that a majority can
// reach is never deposed, however many of the others it cannot reach. Two nodes
// that cannot reach each other are two reports about two leaders. And whatever
// goes wrong, a group is not asked again before a pause that doubles.

// report is a voter's word that the leader of a group is gone.
type report struct {
	group  uint16
	leader string
	term   uint64
	last   position
}

// position is the end of a voter's log. Raft votes for whoever has no lower one.
type position struct{ term, index uint64 }

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.term, o.term), cmp.Compare(p.index, o.index))
}

// following is what a voter's Raft says of one group right now.
type following struct {
	report          // but for the leader being gone
	voters []string // this node is one
}

// decider decides for one node. It has no clock: now rises from call to call.
type decider struct {
	self     string
	interval time.Duration
	groups   map[uint16]*orphan
}

// orphan is what is remembered of a group whose leader was reported.
type orphan struct {
	reports map[string]heardReport // by voter
	since   time.Duration          // when a majority was seen first, 0 for not
	next    time.Duration          // not decided again before
	pause   time.Duration
}

type heardReport struct {
	report
	at time.Duration
}

// The pause after a decision. A group that had none for longest begins anew.
const (
	pauseMin = time.Second
	pauseMax = 30 * time.Second
)

func newDecider(self string, interval time.Duration) *decider {
	return &decider{self: self, interval: interval, groups: make(map[uint16]*orphan)}
}

func (d *decider) group(id uint16) *orphan {
	o := d.groups[id]
	if o == nil {
		o = &orphan{reports: make(map[string]heardReport)}
		d.groups[id] = o
	}
	return o
}

// hear takes a voter's report.
func (d *decider) hear(now time.Duration, from string, r report) {
	d.group(r.group).reports[from] = heardReport{r, now}
}

// fresh is how long a report counts: it is repeated every half interval.
func (d *decider) fresh() time.Duration { return 2 * d.interval }

// decide says whether this node is to stand in f, whose leader it holds for gone.
func (d *decider) decide(now time.Duration, f following) bool {
	d.hear(now, d.self, f.report)
	o := d.group(f.group)
	var said []string
	rest := 0 // voters that have not reported, the leader apart
	for _, v := range f.voters {
		switch r, ok := o.reports[v]; {
		case ok && now-r.at <= d.fresh() && r.leader == f.leader && r.term == f.term && v != f.leader:
			said = append(said, v)
		case v != f.leader:
			rest++
		}
	}
	if len(said) <= len(f.voters)/2 {
		o.since = 0
		return false
	}
	if o.since == 0 {
		o.since = now
	}
	if now < o.next || rest > 0 && now-o.since < d.interval/2 {
		return false
	}
	if now-o.next > pauseMax {
		o.pause = 0
	}
	o.pause = min(max(2*o.pause, pauseMin), pauseMax)
	o.next = now + o.pause
	return o.best(f.group, said) == d.self
}

// best is who has most of the log. Of several equal ones it depends on the
// group, so that the groups of a dead node spread over the others.
func (o *orphan) best(group uint16, voters []string) string {
	most := slices.MaxFunc(voters, func(a, b string) int {
		return o.reports[a].last.compare(o.reports[b].last)
	})
	voters = slices.DeleteFunc(voters, func(v string) bool {
		return o.reports[v].last.compare(o.reports[most].last) < 0
	})
	slices.Sort(voters)
	return voters[int(group)%len(voters)]
}

// A beat's payload is a row of reports, none in most.

func appendReport(dst []byte, r report) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.group))
	dst = field.AppendBytes(dst, []byte(r.leader))
	return appendNumbers(dst, r.term, r.last.term, r.last.index)
}

func readReport(b []byte) (rep report, rest []byte, err error) {
	r := field.Reader{B: b}
	group := r.Uvarint()
	rep = report{group: uint16(group), leader: string(r.Bytes()), term: r.Uvarint()}
	rep.last.term, rep.last.index = r.Uvarint(), r.Uvarint()
	if r.Bad || group > 1<<16-1 || rep.leader == "" {
		return report{}, nil, malformed("report")
	}
	return rep, r.B, nil
}
