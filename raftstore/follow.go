package raftstore

import (
	"cmp"
	"slices"

	"dunlin/router"
	"dunlin/session"
)

// This file carries out what an entry gave the leader to do: see effects.

// push hands each session's deliveries to its owner, for the epochs from first
// to last.
func (sh *shard) push(first, last session.Epoch) {
	fx := &sh.st.fx
	var m session.Message
	var parsed []byte // what m was parsed from
	for _, n := range fx.first {
		head := &fx.pushes[n]
		if head.epoch < first || head.epoch > last {
			continue
		}
		ds := sh.scratch[:0]
		waits := sh.cold.at(head.slot, head.epoch) != nil
		for ; n >= 0; n = fx.pushes[n].next {
			p := &fx.pushes[n]
			if waits = waits || p.packed == nil; waits && p.index > 0 {
				sh.cold.push(p.slot, p.epoch, p.index)
				continue
			}
			if parsed == nil || &parsed[0] != &p.packed[0] {
				parseStored(p.packed, p.deadline, sh.st.now, fx.clock, &m)
				parsed = p.packed
			}
			ds = append(ds, Delivery{Index: p.index, Message: m, QoS: p.qos, Retain: p.retain, IDs: p.ids})
		}
		if len(ds) > 0 {
			sh.world.Push(head.node, head.conn, head.epoch, ds)
		}
		sh.scratch = recycle(ds)
	}
}

// finish does what else the entry gave the leader to do.
func (sh *shard) finish() {
	fx := &sh.st.fx
	for i := range fx.ended {
		sh.end(&fx.ended[i])
	}
	for i := range fx.wills {
		if sh.unsent != 0 {
			break // it comes after those that wait
		}
		sh.publish(&fx.wills[i])
	}
	sh.post()
	sh.pass()
	for _, origin := range fx.origins {
		sh.world.Forget(origin)
		for other := range sh.store.shards {
			sh.store.Submit(router.ShardID(other), forget{origin}, nil)
		}
	}
}

func (sh *shard) end(c *endedConn) { sh.world.Ended(c.node, c.conn, c.epoch, c.reason) }

// publishFrom sends the wills on their way that are not known to be published, from
// that number on, for as long as the messenger takes them.
func (sh *shard) publishFrom(number uint64) {
	sh.unsent = 0
	fired := sh.st.wills.fired
	i, _ := slices.BinarySearchFunc(fired, number, func(w firedWill, n uint64) int { return cmp.Compare(w.number, n) })
	for ; i < len(fired) && sh.unsent == 0; i++ {
		sh.publish(&fired[i])
	}
}

// publish sends a will on its way, and has the state forget it when it arrived.
func (sh *shard) publish(w *firedWill) {
	var m session.Message
	parseStored(w.packed, session.Never, sh.st.now, sh.clock(), &m)
	m.Origin, m.Seq = w.origin, w.seq
	seq := w.number
	if !sh.world.Publish(&m, w.clientID, w.user, func() { sh.submit(published{seq}, nil) }) {
		sh.unsent = seq
	}
}

// warnEvery is the least time between two warnings of one shard.
const warnEvery session.Time = 60e9

// warn tells the operator that messages are dropped because the shard is full;
// those that one session's own bound costs are counted only.
func (sh *shard) warn() {
	fx := &sh.st.fx
	if fx.dropped[dropShardFull] == 0 || sh.warned != session.Never && fx.clock-sh.warned < warnEvery {
		return
	}
	sh.warned = fx.clock
	sh.log.Warn("shard holds all the queued messages it may: new ones are dropped",
		"shard", sh.id, "bytes", sh.st.messages.bytes, "limit", sh.st.limits.QueuedBytes)
}
