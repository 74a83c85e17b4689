package lease

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/raftstore/meta"
)

// Standing is what a node may do for clients.
type Standing uint8

const (
	Joining  Standing = iota // it has held no lease yet: it takes no clients
	Leased                   // it holds a lease
	Lapsed                   // it holds none: acknowledgements wait
	Isolated                 // for so long, or revoked, that its clients are closed
)

func (s Standing) String() string {
	return [...]string{"joining", "leased", "lapsed", "isolated"}[s]
}

// Lease is this node's lease, and what it knows of those of the others.
type Lease struct {
	opts  Options
	began time.Time
	wake  chan struct{}

	stop    context.CancelFunc
	running sync.WaitGroup

	onChange func()
	onOver   func(Ended)
	onClosed func()
	entered  atomic.Bool // who counts is known

	generation atomic.Uint64 // mu.me's

	until  atomic.Int64           // end of the lease, since began; 0 for none
	counts atomic.Pointer[counts] // never written

	// Guarded by mu. Options.Peers, Meta and Replica are called holding it.
	mu struct {
		sync.Mutex

		me       holder
		start    uint64 // of me.Node; 0 before Start
		revoked  bool   // me.Generation is, or is over
		replaced bool   // a later start of this node entered, or it was retired
		released bool
		standing Standing
		missing  error // why there is no lease

		looked    time.Time // last
		stood     time.Time // when it was found that this process had stood still
		renewed   time.Time // when a round was begun last
		told      report    // in that round
		proposing bool
		answer    struct { // meta's latest
			entry string
			at    time.Time
		}
		answered map[holder]counted // who waits for me.Generation
		catching bool               // CatchUp is under way
		caughtUp uint64             // generation in which it has succeeded
		asking   map[ask]bool       // asks under way that are not repeated meanwhile

		others map[uint32]*other
		heard  map[uint32]heard // renewals that have come here, by node
		heeds  time.Time        // since when this node votes, and hears these; zero if it does not

		suspect   holder // who would be revoked if this node led, and since when
		suspected time.Time

		granted    map[holder]time.Time // when this voter granted a lease last
		configured uint64               // Replica.Configured, and since when it was that, or later
		since      time.Time
	}
}

// ask names what is asked of a node about a generation.
type ask struct {
	kind uint8
	of   string
	holder
}

// other is another node of meta's state, in the latest generation known.
type other struct {
	holder
	identity string
	start    uint64
	seen     time.Time // when that generation was seen first
	lost     time.Time // since when it cannot be reached; zero if it can
	gone     bool      // its process was found dead
	ending   ending
	over     bool
	closing  time.Time // since it is over: when its clients are closed at the latest
	closed   uint64    // the clients of all generations up to this one are closed
}

// counts are who counts, by identity.
type counts struct {
	of   map[string]holder
	list []string
}

// heard is a renewal that came here.
type heard struct {
	holder
	at time.Time
	report
}

// New makes a Lease, which grants leases from now on if this node is a voter.
func New(o Options) (*Lease, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Lease{opts: o, began: time.Now(), wake: make(chan struct{}, 1)}
	l.onChange = func() {}
	l.onOver = func(Ended) {}
	l.onClosed = func() {}
	l.counts.Store(&counts{})
	l.mu.answered = make(map[holder]counted)
	l.mu.asking = make(map[ask]bool)
	l.mu.others = make(map[uint32]*other)
	l.mu.heard = make(map[uint32]heard)
	l.mu.granted = make(map[holder]time.Time)
	l.mu.since = l.began
	l.mu.missing = errJoining
	o.Net.Handle(AskRenew, l.answerRenew)
	o.Net.Handle(AskEnded, l.answerEnded)
	o.Net.Handle(AskCount, l.answerCount)
	return l, nil
}

// OnChange has f called when who counts has changed, or has become known, from any
// goroutine. It is set before Start, and so are OnOver and OnClosed.
func (l *Lease) OnChange(f func()) { l.onChange = f }

// Ended is a start of a node of which no lease is left. It may begin anew, in
// another generation.
type Ended struct {
	Node     uint32
	Identity string
	Start    uint64
}

// OnOver has f called once no lease can be held any more by what a start of a node
// was until now: it does not count. It may have clients still, see Closed.
func (l *Lease) OnOver(f func(Ended)) { l.onOver = f }

// OnClosed has f called when there is more in Closed.
func (l *Lease) OnClosed(f func()) { l.onClosed = f }

// Closed is the generation of each node up to which its clients are known to be
// closed: what those own may be given up (raftstore.Store.Lost). Nodes of which none
// is known are left out.
func (l *Lease) Closed() map[uint32]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	closed := make(map[uint32]uint64)
	for number, o := range l.mu.others {
		if o.closed > 0 {
			closed[number] = o.closed
		}
	}
	return closed
}

func (o *other) ended() Ended { return Ended{Node: o.Node, Identity: o.identity, Start: o.start} }

// Start asks for leases from now on, as what entered says.
func (l *Lease) Start(entered meta.Result) {
	l.mu.Lock()
	l.mu.me = holder{Node: entered.Node, Generation: entered.Generation}
	l.mu.start = entered.Start
	l.generation.Store(entered.Generation)
	l.mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.running.Go(func() { l.run(ctx) })
}

// Release gives the lease up for good, so that nobody waits for its end. It is
// called once nothing more will be acknowledged to clients; ctx bounds how long
// meta is tried.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	l.mu.released = true
	l.until.Store(0)
	me := l.mu.me
	l.mu.Unlock()
	if me.Node == 0 {
		return nil
	}
	for {
		_, err := l.opts.Meta.Propose(ctx, &meta.Revoke{Node: me.Node, Generation: me.Generation, Released: true})
		if err == nil || refused(err) {
			return err
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return err
		}
	}
}

// Close stops asking, and waits.
func (l *Lease) Close() {
	if l.stop != nil {
		l.stop()
	}
	l.running.Wait()
}

// Wake has the Lease look at once: meta's state has changed, or how a node can be
// reached.
func (l *Lease) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Held says whether this node may acknowledge at this moment. It costs a reading of
// the clock.
func (l *Lease) Held() bool { return int64(time.Since(l.began)) < l.until.Load() }

// Until is when the lease ends unless it is renewed, on the monotonic clock; a
// time long past if there is none.
func (l *Lease) Until() time.Time { return l.began.Add(time.Duration(l.until.Load())) }

// Generation is that in which this node asks for leases. It takes no lock.
func (l *Lease) Generation() uint64 { return l.generation.Load() }

// Counts says whether the node of that identity must be waited for. It takes no
// lock.
func (l *Lease) Counts(identity string) bool {
	_, ok := l.counts.Load().of[identity]
	return ok
}

// Entered says that who counts is known: nobody else holds a lease, or may before
// this node has said that it counts.
func (l *Lease) Entered() bool { return l.entered.Load() }

// Counted lists who counts, this node left out, in no order. The list is not to be
// written. It takes no lock.
func (l *Lease) Counted() []string { return l.counts.Load().list }

// Standing is this node's, as Options.Standing was told last.
func (l *Lease) Standing() Standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.standing
}

// Ready says whether this node has joined and holds a lease; the error names what
// is missing.
func (l *Lease) Ready() error {
	if l.Held() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.missing == nil {
		return errLapsed
	}
	return l.mu.missing
}

// countLocked has h counted under its identity. A later generation takes the place
// of an earlier one of the same node, which its beginning has ended. It says
// whether anything changed.
func (l *Lease) countLocked(identity string, h holder) bool {
	now := l.counts.Load().of
	if have, ok := now[identity]; ok && (have == h || have.Node > h.Node || have.Node == h.Node && have.Generation > h.Generation) {
		return false
	}
	next := maps.Clone(now)
	if next == nil {
		next = make(map[string]holder)
	}
	next[identity] = h
	l.setCountsLocked(next)
	return true
}

// dropLocked has nobody counted whose generation is over.
func (l *Lease) dropLocked(s *meta.State) bool {
	next := maps.Clone(l.counts.Load().of)
	before := len(next)
	maps.DeleteFunc(next, func(_ string, h holder) bool {
		o := l.mu.others[h.Node]
		return fateOf(s, h) == over || o != nil && o.holder == h && o.over
	})
	if len(next) == before {
		return false
	}
	l.setCountsLocked(next)
	return true
}

func (l *Lease) setCountsLocked(of map[string]holder) {
	l.counts.Store(&counts{of: of, list: slices.Collect(maps.Keys(of))})
}

// sortedLocked lists the others by number.
func (l *Lease) sortedLocked() []*other {
	list := make([]*other, 0, len(l.mu.others))
	for _, o := range l.mu.others {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b *other) int { return int(int64(a.Node) - int64(b.Node)) })
	return list
}
