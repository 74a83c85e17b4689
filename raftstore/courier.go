package raftstore

import (
	"time"

	"dunlin/router"
)

// couriers bring a leader's letters to the leaders of other shards, each in order
// and up to the last, and its state the news of how far they are taken. All of it
// is the leader's own: the next one begins with what the state has.
type couriers struct {
	to    []courier // by shard
	reign uint64    // answers to an earlier leadership's letters are void
}

type courier struct {
	asked   uint64 // number of the latest letter that was submitted
	taken   uint64 // up to which the state was told
	open    int    // letters without an answer
	waiting bool   // for the next try
}

// letterRetry is when a letter is submitted again of which nothing was heard. What
// was submitted before is on its way all the same, so that it is one at a time.
const letterRetry = time.Second

// begin forgets what an earlier leadership was at.
func (c *couriers) begin() { c.to, c.reign = nil, c.reign+1 }

// post submits the letters that were not submitted yet.
func (sh *shard) post() {
	out := sh.st.mail.out
	for len(sh.couriers.to) < len(out) {
		sh.couriers.to = append(sh.couriers.to, courier{})
	}
	for to := range out {
		c := &sh.couriers.to[to]
		if out[to].last == c.asked {
			continue
		}
		letters := out[to].after(c.asked)
		c.asked = out[to].last
		for i := range letters {
			sh.bring(router.ShardID(to), &letters[i])
		}
	}
}

// bring submits one letter.
func (sh *shard) bring(to router.ShardID, l *letter) {
	cmd := posted{from: sh.id, low: sh.st.mail.out[to].low(), letter: l}
	if l.kind.hasMessage() {
		parseStored(l.packed, l.deadline, sh.st.now, sh.clock(), &cmd.message)
		cmd.message.Retained = 0 // no replay of a session's brings it, in place of the group (P8)
	}
	sh.couriers.to[to].open++
	reign := sh.couriers.reign
	sh.store.Submit(to, cmd, func(r Result) {
		err, taken := r.Err, r.Seq
		sh.call(func() {
			if reign == sh.couriers.reign {
				sh.brought(to, taken, err)
			}
		})
	})
}

// brought takes the answer to a letter.
func (sh *shard) brought(to router.ShardID, taken uint64, err error) {
	c := &sh.couriers.to[to]
	c.open--
	if err == nil && taken > c.taken {
		c.taken = taken
		sh.submit(delivered{to, taken}, nil)
	}
	if c.open > 0 || c.taken >= c.asked || c.waiting {
		return
	}
	if err == nil {
		sh.bringAgain(to)
		return
	}
	c.waiting = true
	reign := sh.couriers.reign
	time.AfterFunc(letterRetry, func() {
		sh.call(func() {
			if reign == sh.couriers.reign {
				sh.couriers.to[to].waiting = false
				sh.bringAgain(to)
			}
		})
	})
}

// bringAgain submits the first letter that is not known to be taken.
func (sh *shard) bringAgain(to router.ShardID) {
	c := &sh.couriers.to[to]
	if rest := sh.st.mail.out[to].after(c.taken); c.open == 0 && len(rest) > 0 {
		sh.bring(to, &rest[0])
	}
}

// pass submits the QoS 0 messages of share groups.
func (sh *shard) pass() {
	for i := range sh.st.fx.passing {
		p := &sh.st.fx.passing[i]
		sh.store.Submit(p.to, p.cmd, nil)
	}
}
