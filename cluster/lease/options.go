package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore/meta"
)

// Options are what a Lease is made with. Start from DefaultOptions; New reads them
// and they are not changed after.
type Options struct {
	// Identity is this node's.
	Identity string
	// Group is meta's number in asks.
	Group uint16

	Meta    Meta
	Replica Replica
	Net     Net
	Peers   Peers
	// CatchUp returns nil once this node holds the routes of shards that were
	// promised to anybody before the call. It is called when everybody whose lease
	// may run waits for this node, and again if it fails.
	CatchUp func(ctx context.Context) error
	// Standing hears of each change, from one goroutine. Told Isolated, it closes
	// all clients, and returns once nothing more will be acknowledged to them.
	Standing func(Standing)

	// Term is how long a lease holds from the sending of what asked for it. Margin
	// is how much longer others wait before they take it to be over: two clocks may
	// differ by so much within a Term.
	Term, Margin time.Duration
	// Renew is how often a lease is asked for.
	Renew time.Duration
	// Isolation is how long after losing its lease a node closes its clients.
	Isolation time.Duration
	// Closing is how much longer than Isolation others wait, from when no lease is
	// left, before they take the clients of a node to be closed of which they know
	// nothing: two clocks may differ by so much in that time, closing included.
	Closing time.Duration
	// Broken is how long a node may be Down for another before it is told, and Confirm
	// how long that must be so before one is revoked.
	Broken, Confirm time.Duration

	Logger *slog.Logger
}

// Meta is this node's view of the group meta, and its way to the leader.
type Meta interface {
	// State is the latest that this node has applied, nil if none yet. It may be
	// behind. Lease.Wake is to be called when it has changed.
	State() *meta.State
	// Propose has the leader, wherever it is, commit c. An error of package meta is
	// what it was refused with; after any other it may have been committed, may be
	// later, or never.
	Propose(ctx context.Context, c meta.Command) (meta.Result, error)
}

// Replica is this node's replica of meta's group.
type Replica interface {
	// Voters are the identities of the voters, sorted, by the latest configuration
	// in this replica's log, committed or not.
	Voters() []string
	// Configured is the index of the latest configuration that Meta.State has passed.
	Configured() uint64
	// Whole says that Meta.State holds everything that the log of this replica held
	// when Whole was called (meta.Machine.Whole). It does not block.
	Whole() bool
	// Leading says that this replica leads, as far as it knows.
	Leading() bool
}

// Net carries asks between nodes, a *raftnet.Net.
type Net interface {
	Ask(ctx context.Context, node string, group uint16, kind uint8, body []byte) ([]byte, error)
	Handle(kind uint8, h raftnet.Handler)
}

// Peers are the streams between this node and the others. It is called with the
// lease's lock held and must not call back.
type Peers interface {
	// Reach says how this node's own streams to a node are, and for how long a node
	// that is Down was so before that could be found. Lease.Wake is to be called when
	// it has changed.
	Reach(identity string) (r Reach, since time.Duration)
	// Version is that of this node's own routes, and names the process that counts
	// so.
	Version() (process, version uint64)
	// Holds says that this node has all that a node's routes were at that version of
	// that process, or later ones of it.
	Holds(identity string, process, version uint64) bool
}

// Reach is how a node can be reached.
type Reach uint8

const (
	Down Reach = iota // a stream is missing, or nothing is heard on it
	Up                // all streams are open
	Gone              // its process was found dead: its ports are closed
)

// The kinds of asks that a Lease answers.
const (
	AskRenew uint8 = 0x20 // a node to a voter: a lease
	AskEnded uint8 = 0x21 // a node to a voter: that it grants no more to another
	AskCount uint8 = 0x22 // a node that is to be admitted: to be waited for
)

// DefaultOptions have the times of E4: the 5 s of two nodes that cannot reach each
// other are a second of silence, from which on they are Down, even if that is found
// later, Broken and Confirm. Of whom
// nothing at all is heard it is Broken and Confirm since it asked last.
func DefaultOptions() Options {
	return Options{
		CatchUp:   func(context.Context) error { return nil },
		Standing:  func(Standing) {},
		Term:      3 * time.Second,
		Margin:    300 * time.Millisecond,
		Renew:     500 * time.Millisecond,
		Isolation: 10 * time.Second,
		Closing:   2 * time.Second,
		Broken:    3 * time.Second,
		Confirm:   time.Second,
		Logger:    slog.Default(),
	}
}

func (o *Options) validate() error {
	if o.Identity == "" {
		return errors.New("lease: no identity")
	}
	if o.Meta == nil || o.Replica == nil || o.Net == nil || o.Peers == nil ||
		o.CatchUp == nil || o.Standing == nil || o.Logger == nil {
		return errors.New("lease: options not made by DefaultOptions, or incomplete")
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"Term", o.Term}, {"Margin", o.Margin}, {"Renew", o.Renew}, {"Isolation", o.Isolation}, {"Closing", o.Closing}, {"Broken", o.Broken}, {"Confirm", o.Confirm}} {
		if d.d <= 0 {
			return fmt.Errorf("lease: %s %v: must be positive", d.name, d.d)
		}
	}
	if 2*o.Renew >= o.Term {
		return fmt.Errorf("lease: Renew %v must be below half of Term %v", o.Renew, o.Term)
	}
	return nil
}
