package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// flaws are bugs that the property must find.
type flaws struct {
	hasty     bool // a lease is taken to be over when it is not, by as much as the margin
	forgetful bool // a voter grants before it knows again what it knew
	lateCount bool // a SUBACK waits for who counts a while later only
	noRoutes  bool // a node is admitted without the routes of the others
	gossip    bool // who is silent is dropped though it counts
	unsettled bool // a SUBACK waits for nobody
	impatient bool // the clients of a silent node are taken to be closed as soon as its lease is over
	unaware   bool // a voter that was started again does not tell what it may have granted before
}

// world is nodes with one log of meta, a network, routes and clients. Raft is
// reduced to what leases rest on: an entry is committed once a majority of the
// voters has logged it, nodes apply later, and a process that starts has applied
// nothing.
type world struct {
	t     *testing.T
	flaws flaws
	done  chan struct{}
	tasks sync.WaitGroup

	mu struct {
		sync.Mutex
		r       *rand.Rand
		log     []*raft.Log
		results []meta.Result
		leader  *node
		nodes   []*node
		voters  map[int][]string // from that index of the log on, sorted
		cut     map[[2]int]bool
		refused map[int]bool // its ports answer nobody, as if it were dead
		subs    []*sub
		doubts  []doubt
		acks    int
		stalled map[[2]int]time.Time // until when a feed brings nothing
		broken  string
	}
}

// node is what outlasts its processes.
type node struct {
	w        *world
	i        int
	identity string
	logged   int
	proc     *proc // nil while it is down
	started  uint64
	died     time.Time
	drift    float64
	blamed   bool // its ports were refused, since its process began
}

// proc is one process of a node.
type proc struct {
	n        *node
	w        *world
	entering sync.WaitGroup
	stop     context.CancelFunc
	ctx      context.Context
	lease    *Lease
	machine  *meta.Machine
	handlers map[uint8]raftnet.Handler
	alive    bool

	number  uint64
	applied int
	slow    time.Time // until when it is slow to apply what it has missed
	version uint64
	table   map[int]held // what it holds of others' routes
	holds   map[int]held // what others have confirmed, by whom
	silent  map[int]time.Time
	counted []string
	waiting []uint64 // versions whose SUBACK is due
	clients int      // rises when they are closed
	open    bool     // it takes clients
}

type held struct {
	p       *proc
	version uint64
}

// sub is a subscription whose SUBACK was sent.
type sub struct {
	p          *proc
	version    uint64
	clients    int
	generation uint64
	sent       time.Time
}

// doubt is an acknowledgement under a table that misses a subscription: wrong if
// the subscriber's node is found to hold the same lease still.
type doubt struct {
	by   *proc
	s    *sub
	at   time.Time
	what string
}

func (w *world) n(n int) int { return w.mu.r.IntN(n) }

func (w *world) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n(50) == 0 {
		return time.Duration(w.n(800)) * time.Millisecond
	}
	return time.Duration(1+w.n(15)) * time.Millisecond
}

// votersAt are the voters by a log of that length.
func (w *world) votersAt(length int) (voters []string) {
	latest := -1
	for i, v := range w.mu.voters {
		if i <= length && i > latest {
			latest, voters = i, v
		}
	}
	return voters
}

// linked says that frames go both ways.
func (w *world) linked(a, b int) bool {
	return a == b || !w.mu.cut[[2]int{a, b}] && !w.mu.cut[[2]int{b, a}] && !w.mu.refused[a] && !w.mu.refused[b]
}

func (w *world) byIdentity(id string) *node {
	for _, n := range w.mu.nodes {
		if n.identity == id {
			return n
		}
	}
	return nil
}

// --- meta

func (p *proc) State() *meta.State { return p.machine.State() }

func (p *proc) Voters() []string {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.votersAt(p.n.logged)
}

func (p *proc) Whole() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.flaws.forgetful || p.applied >= p.n.logged
}

func (p *proc) Configured() uint64 { return p.machine.Configured() }

func (p *proc) Leading() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.mu.leader == p.n && p.alive
}

var errNoLeader = errors.New("no leader")

func (p *proc) Propose(ctx context.Context, c meta.Command) (meta.Result, error) {
	w := p.w
	select {
	case <-time.After(w.delay()):
	case <-ctx.Done():
		return meta.Result{}, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.alive || !w.leadsLocked(w.mu.leader) || !w.linked(p.n.i, w.mu.leader.i) {
		return meta.Result{}, errNoLeader
	}
	res := w.commitLocked(c)
	if w.n(12) == 0 {
		return meta.Result{}, errors.New("answer lost")
	}
	return res, res.Err
}

// commitLocked has the leader commit c.
func (w *world) commitLocked(c meta.Command) meta.Result {
	w.appendLocked(&raft.Log{Data: meta.Encode(c)}, w.votersAt(len(w.mu.log)))
	return w.mu.results[len(w.mu.results)-1]
}

// appendLocked has the leader, which can, commit an entry by a majority of voters.
func (w *world) appendLocked(e *raft.Log, voters []string) {
	l := w.mu.leader
	w.mu.log = append(w.mu.log, e)
	e.Index = uint64(len(w.mu.log))
	w.mu.results = append(w.mu.results, meta.Result{})
	need := majority(len(voters)) - 1
	l.logged = len(w.mu.log)
	for _, i := range w.mu.r.Perm(len(w.mu.nodes)) {
		n := w.mu.nodes[i]
		if n == l || n.proc == nil || !w.linked(i, l.i) || !slices.Contains(voters, n.identity) {
			continue
		}
		if need > 0 || w.n(2) == 0 {
			n.logged = len(w.mu.log)
			need--
		}
	}
	l.proc.applyLocked(len(w.mu.log))
}

// leadsLocked says whether n can commit.
func (w *world) leadsLocked(n *node) bool {
	return n != nil && n.proc != nil && n.logged == len(w.mu.log) && w.commitsLocked(n, w.votersAt(n.logged))
}

// commitsLocked says whether n, which votes, reaches a majority of voters.
func (w *world) commitsLocked(n *node, voters []string) bool {
	reached := 0
	for _, o := range w.mu.nodes {
		if slices.Contains(voters, o.identity) && o.proc != nil && w.linked(n.i, o.i) {
			reached++
		}
	}
	return reached >= majority(len(voters)) && slices.Contains(voters, n.identity)
}

// revoteLocked makes a voter of a node that is none, or the reverse.
func (w *world) revoteLocked(n *node) {
	l := w.mu.leader
	if !w.leadsLocked(l) || n == l {
		return
	}
	old := w.votersAt(len(w.mu.log))
	voters := slices.DeleteFunc(slices.Clone(old), func(v string) bool { return v == n.identity })
	if len(voters) == len(old) {
		voters = append(voters, n.identity)
		slices.Sort(voters)
	}
	if len(voters) < 2 || !w.commitsLocked(l, voters) {
		return
	}
	w.mu.voters[len(w.mu.log)+1] = voters
	w.appendLocked(&raft.Log{Type: raft.LogConfiguration}, voters)
}

func (p *proc) applyLocked(to int) {
	for p.applied < to {
		if e := p.w.mu.log[p.applied]; e.Type == raft.LogConfiguration {
			p.machine.StoreConfiguration(e.Index, raft.Configuration{})
		} else {
			p.w.mu.results[p.applied] = p.machine.Apply(e).(meta.Result)
		}
		p.applied++
	}
	p.lease.Wake()
}

// replicate is one step of Raft.
func (w *world) replicateLocked() {
	if !w.leadsLocked(w.mu.leader) {
		w.mu.leader = nil
		if w.n(8) == 0 {
			for _, i := range w.mu.r.Perm(len(w.mu.nodes)) {
				if w.leadsLocked(w.mu.nodes[i]) {
					w.mu.leader = w.mu.nodes[i]
					w.mu.leader.proc.applyLocked(len(w.mu.log))
					break
				}
			}
		}
		return
	}
	for _, n := range w.mu.nodes {
		if n.proc == nil || n == w.mu.leader || !w.linked(n.i, w.mu.leader.i) || w.n(3) == 0 {
			continue
		}
		n.logged = len(w.mu.log)
		pace := 1 + w.n(6)
		if time.Now().Before(n.proc.slow) {
			pace = max(0, pace-5)
		}
		n.proc.applyLocked(min(n.logged, n.proc.applied+pace))
	}
}

// --- network

func (p *proc) Handle(kind uint8, h raftnet.Handler) { p.handlers[kind] = h }

func (p *proc) Ask(ctx context.Context, to string, group uint16, kind uint8, body []byte) ([]byte, error) {
	w := p.w
	pass := func(from, to *node, target *proc) (*proc, error) {
		select {
		case <-time.After(w.delay()):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.mu.Lock()
		if to.proc == nil && target == nil {
			w.mu.Unlock()
			return nil, raftnet.ErrUnreachable
		}
		lost := from.i != to.i && (w.mu.cut[[2]int{from.i, to.i}] || w.mu.refused[from.i] || w.mu.refused[to.i])
		lost = lost || target != nil && !target.alive
		q := to.proc
		w.mu.Unlock()
		if lost {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return q, nil
	}
	w.mu.Lock()
	n := w.byIdentity(to)
	w.mu.Unlock()
	q, err := pass(p.n, n, nil)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	// A stream of another process than the peer known makes it another peer.
	if h, ok := q.holds[p.n.i]; ok && h.p != p {
		delete(q.holds, p.n.i)
	}
	alive := p.alive
	w.mu.Unlock()
	if !alive {
		return nil, raftnet.ErrBroken
	}
	var answer []byte
	var failed error
	q.handlers[kind](p.n.identity, group, body, func(b []byte, err error) { answer, failed = b, err })
	if _, err := pass(n, p.n, q); err != nil {
		return nil, err
	}
	return answer, failed
}

// --- streams and routes

func (p *proc) Reach(identity string) (Reach, time.Duration) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.reachLocked(p.w.byIdentity(identity)), 0
}

func (p *proc) reachLocked(n *node) Reach {
	w := p.w
	switch {
	case n == nil:
		return Down
	case w.mu.refused[n.i] && !w.mu.refused[p.n.i], n.proc == nil && w.linked(p.n.i, n.i) && time.Since(n.died) > 100*time.Millisecond:
		return Gone
	case n.proc == nil, !w.linked(p.n.i, n.i):
		return Down
	}
	return Up
}

func (p *proc) Version() (process, version uint64) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.number, p.version
}

func (p *proc) Holds(identity string, process, version uint64) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	h, ok := p.table[p.w.byIdentity(identity).i]
	return p.w.flaws.noRoutes || ok && h.p.number == process && h.version >= version
}

// feedLocked is one step of every feed, and of who is dropped.
func (w *world) feedLocked() {
	for _, a := range w.mu.nodes {
		for _, x := range w.mu.nodes {
			if a == x || a.proc == nil || x.proc == nil {
				continue
			}
			p, q := a.proc, x.proc
			way := [2]int{a.i, x.i}
			if w.n(2000) == 0 {
				w.mu.stalled[way] = time.Now().Add(time.Duration(w.n(3000)) * time.Millisecond)
			}
			if time.Now().Before(w.mu.stalled[way]) {
				continue
			}
			switch linked := w.linked(a.i, x.i); {
			case linked && w.n(10) < 4:
				q.table[a.i] = held{p, p.version}
			case linked && w.n(10) < 6:
				if h, ok := q.table[a.i]; ok && h.p == p {
					p.holds[x.i] = held{q, h.version}
					p.releaseLocked()
				}
			}
		}
	}
	for _, x := range w.mu.nodes {
		for _, a := range w.mu.nodes {
			q := x.proc
			if q == nil || a == x {
				continue
			}
			if q.reachLocked(a) == Up {
				delete(q.silent, a.i)
				continue
			}
			if q.silent[a.i].IsZero() {
				q.silent[a.i] = time.Now()
			}
			if time.Since(q.silent[a.i]) > time.Second && (w.flaws.gossip || !q.lease.Counts(a.identity)) {
				delete(q.table, a.i)
			}
		}
	}
}

// releaseLocked sends the SUBACKs that nobody holds up.
func (p *proc) releaseLocked() {
	if !p.alive || !p.lease.Held() {
		return
	}
	var rest []uint64
	for _, v := range p.waiting {
		up := false
		for _, identity := range p.counted {
			if p.w.flaws.unsettled {
				break
			}
			h, ok := p.holds[p.w.byIdentity(identity).i]
			up = up || !ok || h.version < v
		}
		if up {
			rest = append(rest, v)
			continue
		}
		s := State(p)
		p.w.mu.subs = append(p.w.mu.subs, &sub{p: p, version: v, clients: p.clients, generation: s, sent: time.Now()})
	}
	p.waiting = rest
}

// State is the generation in which p holds its lease, as its replica knows it.
func State(p *proc) uint64 {
	s := p.machine.State()
	if number, ok := s.Find(p.n.identity); ok {
		return s.Nodes[number].Generation
	}
	return 0
}

func (p *proc) changed() {
	if p.w.flaws.lateCount {
		p.w.tasks.Go(func() {
			time.Sleep(700 * time.Millisecond)
			p.recount()
		})
		return
	}
	p.recount()
}

func (p *proc) recount() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.counted = p.lease.Counted()
	p.releaseLocked()
}

func (p *proc) standing(s Standing) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.open = s == Leased || s == Lapsed
	if s != Isolated {
		return
	}
	p.clients++
	p.waiting = nil
}

// publish takes a message under the table of now, and acknowledges it later if it
// may.
func (w *world) publish(p *proc, after time.Duration) {
	w.mu.Lock()
	table := make(map[int]held)
	for i, h := range p.table {
		table[i] = h
	}
	clients, open := p.clients, p.open
	w.mu.Unlock()
	if !open {
		return
	}
	at := time.Now()
	time.Sleep(after)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.alive || !p.lease.Held() || p.clients != clients {
		return
	}
	w.mu.acks++
	for _, s := range w.mu.subs {
		if h := table[s.p.n.i]; s.p.n != p.n && !s.sent.After(at) && s.live() && (h.p != s.p || h.version < s.version) {
			w.mu.doubts = append(w.mu.doubts, doubt{p, s, at, fmt.Sprintf("at %v node %d acknowledged what it took at %v, knowing version %d of %d, whose SUBACK for version %d was sent at %v",
				time.Now().Format(clock), p.n.i, at.Format(clock), h.version, s.p.n.i, s.version, s.sent.Format(clock))})
		}
	}
}

const clock = "04:05.000"

func (s *sub) live() bool { return s.p.alive && s.p.clients == s.clients }

// judgeLocked looks whether a doubt was right, and forgets what is over.
func (w *world) judgeLocked() {
	w.mu.doubts = slices.DeleteFunc(w.mu.doubts, func(d doubt) bool {
		if !d.s.live() {
			return true
		}
		if d.s.p.lease.Held() && State(d.s.p) == d.s.generation && w.mu.broken == "" {
			w.mu.broken = fmt.Sprintf("%s; at %s that node holds its lease", d.what, time.Now().Format(clock))
		}
		return false
	})
	w.mu.subs = slices.DeleteFunc(w.mu.subs, func(s *sub) bool { return !s.live() })
}

// mourn looks for clients of a node of whom p takes it that they are closed: p would
// have their wills published. Whose ports were refused looked dead.
func (w *world) mourn(p *proc) {
	for number, generation := range p.lease.Closed() {
		identity := p.State().Nodes[number].Identity
		w.mu.Lock()
		n := w.byIdentity(identity)
		q := n.proc
		w.mu.Unlock()
		if q == nil || q.lease.Generation() > generation {
			continue
		}
		w.mu.Lock()
		if q.alive && q.open && !n.blamed && w.mu.broken == "" {
			w.mu.broken = fmt.Sprintf("at %s node %d takes the clients of node %d to be closed, which are not", time.Now().Format(clock), p.n.i, n.i)
		}
		w.mu.Unlock()
	}
}

// --- lives

// start starts a process of node n, and has it enter.
func (w *world) start(n *node) {
	p := &proc{
		n: n, w: w, alive: true, machine: meta.NewMachine(level.Known(), nil), handlers: make(map[uint8]raftnet.Handler),
		table: make(map[int]held), holds: make(map[int]held), silent: make(map[int]time.Time), version: 1,
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	o := DefaultOptions()
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) / (1 + n.drift)) }
	o.Identity, o.Group, o.Meta, o.Replica, o.Net, o.Peers = n.identity, 64, p, p, p, p
	o.Standing = p.standing
	o.Term, o.Margin = scale(o.Term), scale(o.Margin)
	o.Isolation, o.Closing = scale(o.Isolation), scale(o.Closing)
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	if verbose {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.i)
	}
	var err error
	if p.lease, err = New(o); err != nil {
		w.t.Error(err)
	}
	if w.flaws.hasty {
		p.lease.opts.Margin *= -1
	}
	if w.flaws.impatient {
		p.lease.opts.Closing = -p.lease.opts.Isolation
	}
	if w.flaws.unaware {
		p.lease.began = p.lease.began.Add(-time.Hour)
		p.lease.mu.since = p.lease.began
	}
	p.lease.OnChange(p.changed)
	w.mu.Lock()
	n.proc = p
	n.started++
	n.blamed = w.mu.refused[n.i]
	p.number = n.started
	if w.n(3) == 0 {
		p.slow = time.Now().Add(5 * time.Second)
	}
	w.mu.Unlock()
	p.entering.Go(func() {
		for p.ctx.Err() == nil {
			res, err := p.Propose(p.ctx, &meta.Enter{Identity: n.identity, Name: n.identity, Start: p.number})
			if err == nil {
				p.lease.Start(res)
				return
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-p.ctx.Done():
			}
		}
	})
}

func (w *world) kill(n *node) {
	w.mu.Lock()
	p := n.proc
	if p == nil {
		w.mu.Unlock()
		return
	}
	n.proc, n.died, p.alive = nil, time.Now(), false
	w.mu.Unlock()
	p.stop()
	p.entering.Wait()
	p.lease.Close()
}

// release stops n politely.
func (w *world) release(n *node) {
	w.mu.Lock()
	p := n.proc
	w.mu.Unlock()
	if p == nil || p.lease.Generation() == 0 {
		return
	}
	p.standing(Isolated)
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	_ = p.lease.Release(ctx)
	w.kill(n)
}

// ever runs f again and again.
func (w *world) ever(pause time.Duration, f func()) {
	w.tasks.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-w.done:
				return
			}
		}
	})
}

var verbose = false

type testWriter struct{ t *testing.T }

func (t testWriter) Write(b []byte) (int, error) {
	t.t.Logf("%s %s", time.Now().Format(clock), b)
	return len(b), nil
}

// play runs one random schedule of a bubble and says what it found wrong.
func play(t *testing.T, seed uint64, f flaws) (broken string, acks int) {
	w := &world{t: t, flaws: f, done: make(chan struct{})}
	w.mu.r = rand.New(rand.NewPCG(seed, 1))
	w.mu.cut, w.mu.refused, w.mu.stalled = make(map[[2]int]bool), make(map[int]bool), make(map[[2]int]time.Time)
	r := rand.New(rand.NewPCG(seed, 2))
	size := 3 + r.IntN(3)
	w.mu.voters = make(map[int][]string)
	for i := range size {
		n := &node{w: w, i: i, identity: fmt.Sprintf("id-%d", i), drift: []float64{-0.04, 0.04}[r.IntN(2)]}
		w.mu.nodes = append(w.mu.nodes, n)
		if i < 3 || size == 5 && seed%2 == 0 {
			w.mu.voters[0] = append(w.mu.voters[0], n.identity)
		}
	}
	for _, n := range w.mu.nodes[:3] {
		w.start(n)
	}
	w.mu.Lock()
	w.mu.leader = w.mu.nodes[0]
	w.commitLocked(&meta.Form{Cluster: "c", Shards: 1, Factor: 3})
	w.mu.Unlock()
	for _, n := range w.mu.nodes[3:] {
		if r.IntN(2) == 0 {
			w.start(n)
		}
	}
	locked := func(f func()) func() {
		return func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			f()
		}
	}
	w.ever(40*time.Millisecond, locked(w.replicateLocked))
	w.ever(15*time.Millisecond, locked(w.feedLocked))
	w.ever(20*time.Millisecond, locked(w.judgeLocked))
	w.ever(10*time.Millisecond, func() {
		w.mu.Lock()
		p := w.mu.nodes[w.n(size)].proc
		subscribe, after := w.n(3) == 0, time.Duration(w.n(250))*time.Millisecond
		if p != nil && subscribe && p.open && p.lease.Held() && len(w.mu.subs) < 300 {
			p.version++
			p.waiting = append(p.waiting, p.version)
			p.releaseLocked()
		}
		w.mu.Unlock()
		if p != nil && !subscribe {
			w.tasks.Go(func() { w.publish(p, after) })
		}
	})
	w.ever(20*time.Millisecond, func() {
		for _, n := range w.mu.nodes {
			w.mu.Lock()
			p := n.proc
			w.mu.Unlock()
			if p != nil {
				w.mourn(p)
			}
		}
	})
	w.ever(100*time.Millisecond, func() { // streams tell when they break
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, n := range w.mu.nodes {
			if n.proc != nil {
				n.proc.lease.Wake()
			}
		}
	})

	time.Sleep(2 * time.Second)
	for range 10 {
		w.fault(r)
		pause := time.Duration(r.IntN(4000)) * time.Millisecond
		if r.IntN(12) == 0 {
			pause += 15 * time.Second // long enough for clients of who is cut off to be closed
		}
		time.Sleep(pause)
		w.mu.Lock()
		broken := w.mu.broken
		w.mu.Unlock()
		if broken != "" {
			break
		}
	}
	// All is well again: everybody is admitted.
	w.mu.Lock()
	clear(w.mu.cut)
	clear(w.mu.refused)
	var dead []*node
	for _, n := range w.mu.nodes {
		if n.proc == nil {
			dead = append(dead, n)
		}
	}
	w.mu.Unlock()
	for _, n := range dead {
		w.start(n)
	}
	for range 60 {
		time.Sleep(time.Second)
		if w.allHeld() {
			break
		}
	}
	if !w.allHeld() && f == (flaws{}) {
		for _, n := range w.mu.nodes {
			t.Logf("node %d: %v, counts %v, %+v", n.i, n.proc.lease.Ready(), n.proc.lease.Counted(), n.proc.State())
		}
		w.mu.Lock()
		w.mu.broken = "not everybody holds a lease a minute after all healed"
		w.mu.Unlock()
	}
	close(w.done)
	w.tasks.Wait()
	for _, n := range w.mu.nodes {
		w.kill(n)
	}
	return w.mu.broken, w.mu.acks
}

func (w *world) allHeld() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.mu.nodes {
		if n.proc == nil || !n.proc.lease.Held() {
			return false
		}
	}
	return true
}

// fault does something to the network or to processes.
func (w *world) fault(r *rand.Rand) {
	w.mu.Lock()
	size := len(w.mu.nodes)
	n := w.mu.nodes[r.IntN(size)]
	o := w.mu.nodes[r.IntN(size)]
	set := func(a, b int, both bool) {
		w.mu.cut[[2]int{a, b}] = true
		if both {
			w.mu.cut[[2]int{b, a}] = true
		}
	}
	isolate := func() {
		for i := range size {
			set(n.i, i, true)
		}
	}
	later := func(f func()) {
		after := time.Duration(r.IntN(1500)) * time.Millisecond
		w.tasks.Go(func() {
			select {
			case <-time.After(after):
				f()
			case <-w.done:
			}
		})
	}
	var then func()
	kind := r.IntN(17)
	switch { // what brings a planted bug to light
	case r.IntN(2) == 0:
	case w.flaws.hasty:
		kind = 3 + r.IntN(2)
	case w.flaws.forgetful:
		kind = 9
	case w.flaws.unaware:
		kind = 11
	}
	switch kind {
	case 9: // revoked and forgotten, it meets a voter that has just started, and nobody else
		w.mu.refused[n.i], n.blamed = true, true
		then = func() { w.meetStarting(r, n) }
	case 11: // who alone has granted its latest leases is started again, and it found dead
		then = func() { w.restartGranting(n) }
	case 0, 1:
		set(n.i, o.i, r.IntN(2) == 0)
	case 2:
		isolate()
	case 3, 10:
		w.mu.refused[n.i], n.blamed = true, true
	case 4, 5, 6:
		clear(w.mu.cut)
		clear(w.mu.refused)
	case 7: // revoked for a broken link, it goes silent at that moment
		set(n.i, o.i, true)
		then = func() {
			time.Sleep(time.Duration(4000+r.IntN(2000)) * time.Millisecond)
			w.mu.Lock()
			defer w.mu.Unlock()
			isolate()
		}
	case 14, 15: // voters change, one after the other
		then = func() {
			for range 1 + r.IntN(3) {
				w.mu.Lock()
				w.revoteLocked(w.mu.nodes[r.IntN(size)])
				w.mu.Unlock()
				time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
			}
		}
	case 8:
		then = func() { w.release(n); later(func() { w.startIfDown(n) }) }
	default:
		then = func() { w.kill(n); later(func() { w.startIfDown(n) }) }
	}
	w.mu.Unlock()
	if then != nil {
		then()
	}
}

// restartGranting leaves n one voter to grant it leases, has it be found dead, and
// starts that voter again.
func (w *world) restartGranting(n *node) {
	w.mu.Lock()
	var v *node
	for _, o := range w.mu.nodes {
		if o == n || o.proc == nil {
			continue
		}
		if v == nil && o != w.mu.leader && slices.Contains(w.votersAt(len(w.mu.log)), o.identity) {
			v = o
			continue
		}
		w.mu.cut[[2]int{n.i, o.i}], w.mu.cut[[2]int{o.i, n.i}] = true, true
	}
	after := time.Duration(w.n(3000)) * time.Millisecond
	w.mu.Unlock()
	if v == nil {
		return
	}
	time.Sleep(after)
	w.kill(v)
	w.mu.Lock()
	w.mu.refused[n.i], n.blamed = true, true
	w.mu.Unlock()
	w.start(v)
}

// meetStarting lets n, cut off until its lease is over for the others, reach a
// voter that knows little yet.
func (w *world) meetStarting(r *rand.Rand, n *node) {
	time.Sleep(time.Duration(3000+r.IntN(2000)) * time.Millisecond)
	w.mu.Lock()
	var v *node
	for _, o := range w.mu.nodes {
		if o != n && o != w.mu.leader && o.proc != nil && slices.Contains(w.votersAt(len(w.mu.log)), o.identity) {
			v = o
		}
	}
	w.mu.Unlock()
	if v == nil {
		return
	}
	w.kill(v)
	w.start(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	v.proc.slow = time.Now().Add(10 * time.Second)
	delete(w.mu.refused, n.i)
	for i := range w.mu.nodes {
		w.mu.cut[[2]int{n.i, i}] = i != v.i
		w.mu.cut[[2]int{i, n.i}] = i != v.i
	}
}

func (w *world) startIfDown(n *node) {
	w.mu.Lock()
	down := n.proc == nil
	w.mu.Unlock()
	if down {
		w.start(n)
	}
}

func playIn(t *testing.T, seed uint64, f flaws) (broken string, acks int) {
	synctest.Test(t, func(t *testing.T) { broken, acks = play(t, seed, f) })
	return broken, acks
}

// E4, P4: no node acknowledges under a table of routes that misses a subscription
// whose SUBACK was sent, as long as the subscriber's node holds its lease; and
// once all is well everybody holds one.
func TestNoAcknowledgementMissesASubscription(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	acks := 0
	for seed := range seeds {
		broken, n := playIn(t, seed, flaws{})
		if broken != "" {
			t.Fatalf("seed %d: %s", seed, broken)
		}
		acks += n
	}
	if acks < int(seeds)*200 {
		t.Errorf("%d acknowledgements in %d schedules prove nothing", acks, seeds)
	}
}

// The property finds each planted bug.
func TestPlantedBugsAreFound(t *testing.T) {
	for name, f := range map[string]flaws{
		"hasty":      {hasty: true},
		"forgetful":  {forgetful: true},
		"late count": {lateCount: true},
		"no routes":  {noRoutes: true},
		"gossip":     {gossip: true},
		"unsettled":  {unsettled: true},
		"unaware":    {unaware: true},
		"impatient":  {impatient: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(400) {
				if broken, _ := playIn(t, seed, f); broken != "" {
					t.Logf("seed %d: %s", seed, broken)
					return
				}
			}
			t.Error("not found")
		})
	}
}
