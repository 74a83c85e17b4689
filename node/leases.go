package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"dunlin/cluster/control"
	"dunlin/cluster/lease"
	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// newLease makes the node's lease and tells all who ask for it or live by it.
func (n *Node) newLease() error {
	o := lease.DefaultOptions()
	o.Identity, o.Group = n.data.Identity(), control.MetaGroup
	o.Meta, o.Replica, o.Net, o.Peers = n.control, n.control, n.cluster.Raft(), n.cluster
	o.CatchUp, o.Standing, o.Logger = n.catchUp, n.stand, n.log
	l, err := lease.New(o)
	if err != nil {
		return err
	}
	n.lease = l
	l.OnChange(func() {
		n.cluster.Recount()
		n.routesChanged()
	})
	l.OnOver(func(e lease.Ended) { n.cluster.Over(e.Identity, e.Start) })
	l.OnClosed(n.mourn)
	n.cluster.Leases(l)
	n.broker.Lease(l)
	n.control.Watch(func(*meta.State) {
		l.Wake()
		n.routesChanged() // for its Members
	})
	n.control.Watch(n.noteRevoked())
	return nil
}

// catchUp has this node hold what was promised in the name of shards before.
func (n *Node) catchUp(ctx context.Context) error {
	store := n.store.Load()
	return n.routes.Load().CatchUp(ctx, func(sh router.ShardID, done func(uint64, error)) {
		store.Submit(sh, raftstore.Acks{}, func(r raftstore.Result) { done(r.Index, r.Err) })
	})
}

// stand has clients follow this node's standing.
func (n *Node) stand(s lease.Standing) {
	n.door.Lock()
	defer n.door.Unlock()
	was := n.door.standing
	n.door.standing = s
	if !n.door.open {
		return // there are no clients yet
	}
	switch s {
	case lease.Leased:
		n.broker.Accept(true)
		n.broker.LeaseBack()
		if was == lease.Isolated {
			n.store.Load().PublishAgain() // the wills that isolation had the broker give up
		}
	case lease.Isolated:
		// Nothing else may follow before they are closed, one way or the other.
		_ = n.broker.Isolate(n.door.shut)
	}
}

// letIn lets clients in, once this node may serve them.
func (n *Node) letIn() error {
	n.door.Lock()
	defer n.door.Unlock()
	if n.door.standing != lease.Leased {
		return errors.New("this node's lease has ended meanwhile")
	}
	n.door.open = true
	n.broker.Accept(true)
	return nil
}

// mourn has the shards that this node leads give up what nodes owned of which no
// lease is left, and no client either.
func (n *Node) mourn() {
	select {
	case n.mourning <- struct{}{}:
	default:
	}
}

func (n *Node) mournAlways() {
	for {
		select {
		case <-n.mourning:
		case <-n.life.Done():
			return
		}
		if store := n.store.Load(); store != nil {
			for node, generation := range n.lease.Closed() {
				store.Lost(raftstore.Node(node), generation)
			}
		}
	}
}

// leading implements raftstore.Routes. A new leader does not know what the leader
// before gave up.
type leading struct {
	raftstore.Routes
	n *Node
}

func (l leading) LeadShard(sh router.ShardID, reign uint64, table *router.Table) {
	l.Routes.LeadShard(sh, reign, table)
	l.n.mourn()
}

// A node that stops waits so long for its shards, and then tries to say that nobody need wait for
// its lease: so long if there are those who would wait and could hear it, seconds as they do, and
// else hardly, as when all nodes stop.
const (
	settleTimeout   = 300 * time.Millisecond
	releaseTimeout  = 3 * time.Second
	hopelessTimeout = 300 * time.Millisecond
)

// release gives the lease up, when no client is left and the shards know how each
// went: the others take those for lost of whom they do not (P6).
func (n *Node) release(ctx context.Context) {
	settling, settled := context.WithTimeout(ctx, settleTimeout)
	defer settled()
	if err := n.broker.Settle(settling); err != nil {
		n.log.Info("not all shards know that this node's clients are gone", "err", err)
	}
	patience := hopelessTimeout
	if mostReached(n.control.Voters(), n.data.Identity(), n.gossiped()) {
		patience = releaseTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := n.lease.Release(ctx); err != nil {
		n.log.Info("the others wait for the end of this node's lease", "err", err)
	}
	n.lease.Close()
}

// mostReached says that a majority of the voters is there, of whom this node may be one.
func mostReached(voters []string, self string, others []control.Member) bool {
	there := 0
	for _, v := range voters {
		if v == self || slices.ContainsFunc(others, func(m control.Member) bool { return m.Identity == v && m.Reachable }) {
			there++
		}
	}
	return there > len(voters)/2
}
