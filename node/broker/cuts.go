package broker

import (
	"errors"
	"slices"
	"strings"

	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// What a new subscription is sent of the retained messages, and what reaches it
// live, is told apart by one number for each shard, the cut: the index at which the
// shard was found when every node had the subscription's routes, before its
// SUBACK left. A publish that was retained at the cut or before is the replay's, as
// the topic's value or a newer one: it came before the SUBACK, so that nobody was
// promised it live. One that was retained after the cut was matched after it, and comes live. So
// there is no gap, and nothing comes twice, whatever was under way (P8).

// cutting is somebody who waits for cuts.
type cutting struct {
	left int
	cuts []session.Cut
	then func(cuts []session.Cut, err error) // once, on the loop

	asked int // reads of its shards that came to nothing
}

// cutReads are those of a worker who wait for the cut of one shard: whom a read
// under way is for, and whom the next, which came after it set out.
type cutReads struct {
	busy bool
	next []*cutting
}

// cutAt is the cut of sh, 0 if it has none.
func cutAt(cuts []session.Cut, sh router.ShardID) uint64 {
	for _, x := range cuts {
		if x.Shard == sh {
			return x.Index
		}
	}
	return 0
}

// readCuts gives the cuts of all shards that replays concern to then.
func (w *worker) readCuts(replays []*replay, then func(cuts []session.Cut, err error)) {
	var wanted [maxShards]bool
	x := &cutting{then: then}
	for _, r := range replays {
		from, to := w.shardsOf(r.filter)
		for sh := from; sh < to; sh++ {
			if !wanted[sh] {
				wanted[sh] = true
				x.left++
			}
		}
	}
	if x.left == 0 {
		then(nil, nil)
		return
	}
	for sh := range router.ShardID(w.shards.Shards()) {
		if !wanted[sh] {
			continue
		}
		q := &w.cutReads[sh]
		if q.next = append(q.next, x); !q.busy {
			w.readCut(sh)
		}
	}
}

// shardsOf says which shards may retain messages that f matches, from from up to
// but not to. None retains what clients may not publish.
func (w *worker) shardsOf(f router.Filter) (from, to router.ShardID) {
	if strings.HasPrefix(f.Pattern(), "$") {
		return 0, 0
	}
	if f.IsExact() {
		if t, err := router.ParseTopic([]byte(f.Pattern())); err == nil {
			sh := w.shards.TopicShard(t)
			return sh, sh + 1
		}
	}
	return 0, router.ShardID(w.shards.Shards())
}

// nothing matches no retained message: of the page that is read with it the index
// is wanted.
var nothing = func() router.Filter {
	f, err := router.ParseFilter([]byte("$"))
	if err != nil {
		panic("broker: " + err.Error())
	}
	return f
}()

func (w *worker) readCut(sh router.ShardID) {
	q := &w.cutReads[sh]
	xs := q.next
	q.next, q.busy = nil, true
	w.retained.ReadRetained(sh, raftstore.RetainedQuery{Filter: nothing, MaxMessages: 1},
		func(p raftstore.RetainedPage, err error) {
			w.loop.Post(func(w *worker) { w.cutRead(sh, xs, p.Index, err) })
		})
}

// maxCutReads is how many reads of one SUBSCRIBE may come to nothing before it is
// let go: each is given up after 5 s.
const maxCutReads = 32

// cutRead takes a shard's answer.
func (w *worker) cutRead(sh router.ShardID, xs []*cutting, index uint64, err error) {
	q := &w.cutReads[sh]
	q.busy = false
	defer func() {
		if !q.busy && len(q.next) > 0 {
			w.readCut(sh)
		}
	}()
	for _, x := range xs {
		switch {
		case x.then == nil: // another shard has failed it
		case errors.Is(err, raftstore.ErrUnknown) && x.asked < maxCutReads:
			// A leader that falls silent is replaced later than a read is given up.
			x.asked++
			q.next = append(q.next, x)
		case err != nil:
			x.then(nil, err)
			x.then = nil
		default:
			x.cuts = append(x.cuts, session.Cut{Shard: sh, Index: index})
			if x.left--; x.left == 0 {
				x.then(x.cuts, nil)
			}
		}
	}
}

// newcomer is a new subscription, whose live flow begins with its cuts.
type newcomer struct {
	filter router.Filter
	cuts   []session.Cut
	until  session.Time
}

// freshFor is how long publishes from before the cut are expected to be under way: a
// publish is answered or unknown long before.
const freshFor = session.Time(60e9)

// maxSentLive bounds the topics that are remembered for a replay under way. Beyond
// it the replay reads anew what it has not sent, and may bring once more what came
// live before the SUBACK.
const maxSentLive = 1024

// isReplays says whether a publish that was retained is left to the replays: by
// every subscription of the client's own that wants it.
func (w *worker) isReplays(c *conn, m *session.Message) bool {
	cl := &c.client
	if cl.catchUp == nil || len(cl.fresh) == 0 {
		return false
	}
	sh := w.shards.TopicShard(m.Topic)
	if !slices.ContainsFunc(cl.fresh, func(x newcomer) bool { return cutAt(x.cuts, sh) >= m.Retained }) {
		return false
	}
	w.work += int(cl.filters) / filterWork
	covered := false
	for f := range w.filters(c).All() {
		if f.Group() != "" || !f.Matches(m.Topic) {
			continue
		}
		if covered = cl.cutOf(f, sh) >= m.Retained; !covered {
			return false
		}
	}
	return covered
}

// cutOf is the cut of a subscription, 0 if its live flow has none.
func (cl *client) cutOf(f router.Filter, sh router.ShardID) uint64 {
	for i := range cl.fresh {
		if cl.fresh[i].filter == f {
			return cutAt(cl.fresh[i].cuts, sh)
		}
	}
	return 0
}

// sentLive notes that a publish which was retained went to the client, if a replay
// might send an older one after it.
func (cl *client) sentLive(m *session.Message) {
	if cl.catchUp == nil || cl.wanting+len(cl.replays)+cl.replaying == 0 {
		return
	}
	topic := m.Topic.String()
	last, known := cl.live[topic]
	switch {
	case known && last >= m.Retained:
		return
	case !known && len(cl.live) >= maxSentLive:
		clear(cl.live)
		cl.anew = true
	case cl.live == nil:
		cl.live = make(map[string]uint64)
	}
	cl.live[strings.Clone(topic)] = m.Retained
}

// lastLive is Retained of the topic's latest publish that went to the client past its
// replays, as far as that is remembered, else 0.
func (cl *client) lastLive(topic router.Topic) uint64 {
	if cl.catchUp == nil {
		return 0
	}
	return cl.live[topic.String()]
}

// age forgets cuts that nothing can be under way from any more.
func (cl *client) age(now session.Time) {
	if cl.catchUp == nil {
		return
	}
	for len(cl.fresh) > 0 && cl.fresh[0].until < now {
		cl.fresh = cl.fresh[1:]
	}
	if len(cl.fresh) == 0 {
		cl.fresh = nil
	}
	if cl.isOver() {
		cl.catchUp = nil
	}
}
