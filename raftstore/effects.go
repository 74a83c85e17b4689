package raftstore

import (
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// effects is what applying entries gives a leader to do, in order. A replica
// that does not lead gathers nothing but counts. It is no part of the state.
type effects struct {
	leads bool
	clock session.Time // the leader's own clock when it began to apply

	pushes  []push
	wills   []firedWill
	ended   []endedConn
	origins []uint64 // departed publishers that all shards may forget
	dropped [dropReasons]int
	passing []passing // QoS 0 messages of share groups
	turn    int       // of their members
	once    once      // those that were passed on; kept

	heads []int32 // by slot: one more than the session's first push
	first []int32 // first push of each session that has any, in order
}

// push is one delivery for the owner of a session; next is the session's next.
type push struct {
	slot     uint32
	next     int32
	last     int32 // of the first push: the session's last so far
	node     Node
	conn     router.Subscriber
	epoch    session.Epoch
	index    uint64
	qos      mqtt.QoS
	retain   bool
	borrowed bool // packed borrows the entry, and ids the match
	ids      []uint32
	packed   []byte
	deadline session.Time
}

// firedWill is a will to publish.
type firedWill struct {
	number         uint64 // among those of the shard
	packed         []byte
	origin, seq    uint64
	clientID, user string
}

// endedConn is a connection that lost its session.
type endedConn struct {
	node   Node
	conn   router.Subscriber
	epoch  session.Epoch
	reason mqtt.Reason
}

// drop reasons, as the metric names them.
const (
	dropExpired = iota
	dropQueueFull
	dropQueueOldest
	dropShardFull
	dropOverload
	dropNoMember   // of a share group whose last member left, or for QoS 0 none has room
	dropShareEnded // of QoS 2, sent to a member of a share group whose session ended
	dropReasons
)

var dropNames = [dropReasons]string{"expired", "queue_full", "queue_oldest", "shard_full", "overload", "no_member", "share_ended"}

func (fx *effects) drop(reason, n int) { fx.dropped[reason] += n }

func (fx *effects) forget(origin uint64) {
	if fx.leads {
		fx.origins = append(fx.origins, origin)
	}
}

// passing is a QoS 0 message on its way to a member of a share group.
type passing struct {
	to  router.ShardID
	cmd Transient
}

// passOn brings a QoS 0 message to one member of a group that has room.
func (fx *effects) passOn(g *group, m *session.Message) {
	if len(g.ready) == 0 {
		fx.drop(dropNoMember, 1)
		return
	}
	fx.turn++
	to := g.ready[fx.turn%len(g.ready)]
	p := passing{to.shard, Transient{To: to.clientID, Message: *m, Retain: m.Retain && to.options.RetainAsPublished}}
	if to.options.ID != 0 {
		p.cmd.IDs = []uint32{to.options.ID}
	}
	fx.passing = append(fx.passing, p)
}

// push adds p to what the owner of rec is sent.
func (fx *effects) push(slot uint32, rec *record, p push) {
	p.slot, p.node, p.conn, p.epoch, p.next = slot, rec.node, rec.conn, rec.Epoch(), -1
	if p.borrowed {
		p.ids = append([]uint32(nil), p.ids...)
	}
	n := int32(len(fx.pushes))
	fx.pushes = append(fx.pushes, p)
	for int(slot) >= len(fx.heads) {
		fx.heads = append(fx.heads, 0)
	}
	if head := fx.heads[slot] - 1; head >= 0 && fx.pushes[head].epoch == p.epoch {
		fx.pushes[fx.pushes[head].last].next = n
		fx.pushes[head].last = n
		return
	}
	fx.pushes[n].last = n
	fx.heads[slot] = n + 1
	fx.first = append(fx.first, n)
}

// reset forgets what has been done. Memory that one large batch took is kept
// for the next, up to a bound.
func (fx *effects) reset() {
	for _, n := range fx.first {
		fx.heads[fx.pushes[n].slot] = 0
	}
	fx.pushes, fx.first = recycle(fx.pushes), recycle(fx.first)
	fx.wills, fx.ended, fx.origins = recycle(fx.wills), recycle(fx.ended), recycle(fx.origins)
	fx.passing = recycle(fx.passing)
	fx.dropped = [dropReasons]int{}
}

// recycle empties s for reuse.
func recycle[T any](s []T) []T {
	if cap(s) > 4096 {
		return nil
	}
	clear(s)
	return s[:0]
}

// parseStored reads a message of the state for use on this node: received at
// clock, the node's time, with as much of its expiry left as shard time leaves.
// m borrows packed.
func parseStored(packed []byte, deadline, now, clock session.Time, m *session.Message) {
	if _, err := m.Parse(packed, clock); err != nil {
		panic("raftstore: stored message: " + err.Error())
	}
	if m.HasExpiry && deadline != session.Never {
		m.Expiry = secondsUntil(deadline, now)
	}
}

// secondsUntil rounds up, so that what has not expired does not seem so.
func secondsUntil(deadline, now session.Time) uint32 {
	if deadline <= now {
		return 0
	}
	return uint32((deadline - now + 1e9 - 1) / 1e9)
}
