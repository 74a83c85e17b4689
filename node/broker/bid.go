package broker

import (
	"sync"

	"dunlin/raftstore"
	"dunlin/session"
)

// bid is a connection's claim under way. The shard's answer and the end of the
// connection meet here, whichever is first: the second one gives the claim back. The
// loop has no part in it, since it may have ended when the answer comes (P6).
type bid struct {
	waiting []func(c *conn) // see withClaim; of the loop
	lost    session.Epoch   // see lose; of the loop

	mu struct {
		sync.Mutex
		over *raftstore.Detach // the connection has ended: gives the claim back, once its epoch is known
		won  bool
		as   session.Epoch // if won
	}
}

// bid submits a connection's claim, to which it adds who it is for. taken is called
// with it and the answer, if the connection is there still. It is false if too much waits
// for the shard.
func (w *worker) bid(c *conn, claim raftstore.Claim, taken func(c *conn, b *bid, r raftstore.Result)) bool {
	id, sh := c.id, w.shards.SessionShard(w.clientID(c))
	b, size := new(bid), claimSize(&claim)
	if !w.claimsAt[sh].add(size) {
		return false
	}
	c.shard, c.client.bid = sh, b
	claim.ClientID, claim.Conn = w.clientID(c), c.subscriber()
	w.shards.Submit(sh, claim, func(r raftstore.Result) {
		if d := b.answer(r); d != nil {
			w.submitLast(sh, *d, func(raftstore.Result) {})
		}
		w.claimsAt[sh].sub(size) // not before: see Settle
		w.loop.Post(func(w *worker) {
			if c := w.conn(id); c != nil && c.client.bid == b {
				c.client.bid = nil
				if r.Err == nil && r.Claim.Epoch <= b.lost {
					r = raftstore.Result{Err: raftstore.ErrFenced}
				}
				taken(c, b, r)
			}
		})
	})
	return true
}

// lose notes that what was claimed under an epoch has gone to another connection
// already: the shard's answer may be slower than that news. b may be nil.
func (b *bid) lose(e session.Epoch) {
	if b != nil {
		b.lost = max(b.lost, e)
	}
}

// answer takes the shard's answer and says what is to be submitted for a connection
// that has ended, if anything.
func (b *bid) answer(r raftstore.Result) *raftstore.Detach {
	if r.Err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.won, b.mu.as = true, r.Claim.Epoch; b.mu.over != nil {
		b.mu.over.Epoch = r.Claim.Epoch
	}
	return b.mu.over
}

// giveUp ends the connection's part. If the claim was won, it is the caller's to give
// back, under its epoch; else d will do so.
func (b *bid) giveUp(d raftstore.Detach) (epoch session.Epoch, won bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.over = &d
	return b.mu.as, b.mu.won
}

// maxClaiming is how many bytes of claims may be under way to a shard. A shard
// without a leader gathers those of every client that tries again.
const (
	maxClaiming = 16 << 20
	claimCost   = 1 << 10 // beside the will
)

func claimSize(c *raftstore.Claim) int {
	if c.Will == nil {
		return claimCost
	}
	return claimCost + sizeOf(&c.Will.Message)
}

// openClaims counts the claims under way to a shard, in bytes, from any goroutine.
type openClaims struct {
	mu struct {
		sync.Mutex
		bytes int
		none  chan struct{} // closed when there are none; nil if nobody waits
	}
}

// add counts a claim, or refuses it.
func (g *openClaims) add(size int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.bytes+size > maxClaiming {
		return false
	}
	g.mu.bytes += size
	return true
}

// sub counts out a claim that has its answer.
func (g *openClaims) sub(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.bytes -= size; g.mu.bytes == 0 && g.mu.none != nil {
		close(g.mu.none)
		g.mu.none = nil
	}
}

// over is closed when every claim has its answer.
func (g *openClaims) over() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.none == nil {
		none := make(chan struct{})
		if g.mu.bytes == 0 {
			close(none)
			return none
		}
		g.mu.none = none
	}
	return g.mu.none
}
