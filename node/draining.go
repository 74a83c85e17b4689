package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"dunlin/cluster/control"
	"dunlin/node/admin"
	"dunlin/node/broker"
	"dunlin/node/drain"
	"dunlin/proto/mqtt"
	"dunlin/raftstore/meta"
)

// clientele is broker.Broker.
type clientele interface {
	Refer(to *broker.Elsewhere)
	Connected() int
	Connections(ctx context.Context) ([]uint64, error)
	SendAway(ctx context.Context, conns []uint64, to *broker.Elsewhere) error
}

// orders are what the cluster says of this node, control.Control.
type orders interface {
	Order() (control.Drain, bool)
	Watch(f func(*meta.State))
}

// order is one, if it is given.
type order struct {
	control.Drain
	given bool
}

// draining has this node's clients go elsewhere: all of them while the cluster says so, some to
// spread them evenly over the nodes. What the node leads is moved by the leader of meta, which
// knows of the same order.
type draining struct {
	reference string // Server Reference
	clients   clientele
	life      context.Context
	tasks     *sync.WaitGroup
	log       *slog.Logger
	follows   *follower[order]
	knows     bool // what was ordered before this node began; of take

	order atomic.Pointer[control.Drain] // in force; nil: none
	mu    struct {
		sync.Mutex
		phase     string             // one of the admin.Phase
		began     time.Time          // the first of them
		cease     context.CancelFunc // ends the work on order; nil: there is none
		ceaseEven context.CancelFunc // ends even; nil: it never began
	}
	toAsk atomic.Int64 // clients that even is still to ask
}

func newDraining(reference string, given orders, clients clientele, life context.Context, tasks *sync.WaitGroup, log *slog.Logger) *draining {
	d := &draining{reference: reference, clients: clients, life: life, tasks: tasks, log: log}
	d.follows = newFollower(func() (o order) {
		o.Drain, o.given = given.Order()
		return o
	}, d.take)
	given.Watch(func(*meta.State) { d.follows.wake() })
	return d
}

// inForce says that clients are to leave this node, or to stay away.
func (d *draining) inForce() bool { return d.order.Load() != nil }

// missing is why clients should not be sent here, if they should not.
func (d *draining) missing() error {
	switch o := d.order.Load(); {
	case o == nil:
		return nil
	case o.Cordon:
		return errors.New("cordoned, dunlin cluster undrain takes that back")
	}
	return errors.New("drained, dunlin cluster undrain takes that back")
}

// take carries out the order there is now. follows calls it, once at a time.
func (d *draining) take(_ context.Context, now order) {
	old := !d.knows // from before this node began, as is all that is taken first
	d.knows = true
	was, o := d.order.Load(), now.Drain
	switch {
	case !now.given && was == nil:
		return
	case !now.given:
		d.order.Store(nil)
		d.halt("")
		d.clients.Refer(nil)
		d.log.Info("this node is drained no longer, and takes clients")
		return
	}
	d.order.Store(&o)
	ctx, given := d.halt(admin.PhaseNotice)
	if old {
		given = o.Notice // nobody has been sent here since
	}
	o.Notice = max(o.Notice-given, 0)
	d.tasks.Go(func() { d.carryOut(ctx, o) })
}

// halt ends what is under way, and begins a phase. It says how much notice has been given, all
// that anybody may want if clients are refused already.
func (d *draining) halt(phase string) (ctx context.Context, notice time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.cease != nil {
		d.mu.cease()
	}
	d.ceaseEvenLocked()
	switch d.mu.phase {
	case "":
		d.mu.began = time.Now()
	case admin.PhaseNotice:
		notice = time.Since(d.mu.began)
	default:
		notice = admin.MaxNotice
	}
	ctx, d.mu.cease = context.WithCancel(d.life)
	d.mu.phase = phase
	return ctx, notice
}

// enter begins a phase, unless ctx has ended.
func (d *draining) enter(ctx context.Context, phase string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() == nil {
		d.mu.phase = phase
		d.log.Info("this node is being drained", "phase", phase, "clients", d.clients.Connected())
	}
}

// lookAgain is how often a node that is drained looks whether a client is there that was let in
// before it refused them.
const lookAgain = 250 * time.Millisecond

func (d *draining) carryOut(ctx context.Context, o control.Drain) {
	if !drain.Sleep(ctx, o.Notice) {
		return
	}
	to := &broker.Elsewhere{Reason: mqtt.UseAnotherServer, Reference: d.reference}
	if o.Moved {
		to.Reason = mqtt.ServerMoved
	}
	if !d.refer(ctx, to) {
		return
	}
	if o.Cordon {
		d.enter(ctx, admin.PhaseCordoned)
		return
	}
	d.enter(ctx, admin.PhaseAsking)
	pace := drain.NewPace(cmp.Or(o.Rate, admin.DefaultRate), time.Now())
	for asked := true; ctx.Err() == nil; drain.Sleep(ctx, lookAgain) {
		if d.clients.Connected() == 0 {
			if asked {
				asked = false
				d.enter(ctx, admin.PhaseAsked)
			}
			continue
		}
		asked = true
		all, err := d.clients.Connections(ctx)
		if err != nil {
			return // ctx has ended
		}
		drain.Leave(ctx, all, pace, func(some []uint64) bool { return d.clients.SendAway(ctx, some, to) == nil })
	}
}

// refer has clients that come be sent elsewhere, unless ctx has ended: what came after it may
// have taken that back.
func (d *draining) refer(ctx context.Context, to *broker.Elsewhere) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	d.clients.Refer(to)
	return true
}

// even asks clients to go, at most rate in a second, until no more than keep are left: as many
// as are too many now, and no more if others come. It does not wait for that. What it was told
// before is over.
func (d *draining) even(keep, rate int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inForce() {
		return errors.New("this node is drained")
	}
	d.ceaseEvenLocked()
	var ctx context.Context
	ctx, d.mu.ceaseEven = context.WithCancel(d.life)
	d.tasks.Go(func() { d.askExcess(ctx, keep, rate) })
	return nil
}

func (d *draining) ceaseEvenLocked() {
	if d.mu.ceaseEven != nil {
		d.mu.ceaseEven()
	}
	d.toAsk.Store(0)
}

// leaves says how many askExcess is still to ask, unless ctx has ended: another one counts then.
func (d *draining) leaves(ctx context.Context, toAsk int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() == nil {
		d.toAsk.Store(int64(toAsk))
	}
}

func (d *draining) askExcess(ctx context.Context, keep, rate int) {
	all, err := d.clients.Connections(ctx)
	excess := len(all) - keep
	if err != nil || excess <= 0 {
		return
	}
	d.log.Info("clients are asked to go, for connections to be even", "clients", len(all), "asked", excess, "rate", rate)
	d.leaves(ctx, excess)
	defer d.leaves(ctx, 0)
	to := &broker.Elsewhere{Reason: mqtt.UseAnotherServer, Reference: d.reference}
	drain.Leave(ctx, all, drain.NewPace(rate, time.Now()), func(some []uint64) bool {
		some = some[:min(len(some), excess, max(d.clients.Connected()-keep, 0))]
		excess -= len(some)
		d.leaves(ctx, excess)
		return d.clients.SendAway(ctx, some, to) == nil && excess > 0 && d.clients.Connected() > keep
	})
}

// nodeLoad is what a node tells others of its clients.
type nodeLoad struct {
	Clients int    `json:"clients"`
	Open    bool   `json:"open"`            // it takes more
	Phase   string `json:"phase,omitempty"` // one of the admin.Phase, while it is drained
	ToAsk   int    `json:"to_ask,omitempty"`
}

// What nodes ask of one another about their clients, in JSON.
const (
	callLoad uint8 = 32 + iota // its output is a nodeLoad
	callEven                   // its argument is an evenOrder
)

type evenOrder struct {
	Keep int `json:"keep"`
	Rate int `json:"rate"`
}

// serveDraining answers other nodes.
func (n *Node) serveDraining() {
	n.calls.Handle(callLoad, func(_ context.Context, _ []byte, _ io.Reader, out io.Writer) error {
		return json.NewEncoder(out).Encode(n.ownLoad())
	})
	n.calls.Handle(callEven, func(_ context.Context, arg []byte, _ io.Reader, _ io.Writer) error {
		var o evenOrder
		if err := json.Unmarshal(arg, &o); err != nil {
			return err
		}
		if o.Keep < 0 || o.Rate < 1 {
			return fmt.Errorf("keep %d, rate %d: want none below 0 and at least 1", o.Keep, o.Rate)
		}
		return n.draining.even(o.Keep, o.Rate)
	})
}

func (n *Node) ownLoad() nodeLoad {
	d := n.draining
	d.mu.Lock()
	defer d.mu.Unlock()
	return nodeLoad{
		Clients: n.broker.Connected(), Open: (members{n}).Ready() == nil, Phase: d.mu.phase, ToAsk: int(d.toAsk.Load()),
	}
}

// loadsTimeout bounds how long nodes may take to tell of their clients.
const loadsTimeout = time.Second

// loads asks all nodes for theirs. Who does not answer is left out, and so is who runs a
// release that does not know the question.
func (n *Node) loads(ctx context.Context) map[string]nodeLoad {
	ctx, cancel := context.WithTimeout(ctx, loadsTimeout)
	defer cancel()
	var mu sync.Mutex
	var asking errgroup.Group
	all := make(map[string]nodeLoad)
	for _, x := range n.control.State().Nodes {
		asking.Go(func() error {
			var l nodeLoad
			if err := (agreement{n}).ask(ctx, x.Identity, callLoad, nil, &l); err == nil {
				mu.Lock()
				defer mu.Unlock()
				all[x.Identity] = l
			}
			return nil
		})
	}
	_ = asking.Wait() // none fails
	return all
}

// drains lets administrators have clients leave nodes.
type drains struct{ n *Node }

// Drain implements admin.Drains.
func (d drains) Drain(ctx context.Context, node string, o admin.DrainOrder) error {
	err := d.n.control.Drain(ctx, node, control.Drain{Cordon: o.Cordon, Moved: o.ForGood, Rate: o.Rate, Notice: o.Notice, Force: o.Force}, o.UntilRestart)
	if errors.Is(err, control.ErrTooFew) {
		err = fmt.Errorf("%w; dunlin cluster drain --force does it all the same", err)
	}
	d.n.draining.follows.look(ctx) // where this node is meant, it holds when this returns
	return refused(err)
}

// Undrain implements admin.Drains.
func (d drains) Undrain(ctx context.Context, node string) error {
	err := d.n.control.Undrain(ctx, node)
	d.n.draining.follows.look(ctx)
	return refused(err)
}

// Even implements admin.Drains.
func (d drains) Even(ctx context.Context, rate int) (admin.Evening, error) {
	state := d.n.control.State()
	if state.Cluster == "" {
		return admin.Evening{}, errNotEntered
	}
	return evenOut(d.n.loads(ctx), rate, func(id string) string {
		number, _ := state.Find(id)
		return state.Nodes[number].Name
	}, func(id string, o evenOrder) error {
		arg, err := json.Marshal(o)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, loadsTimeout)
		defer cancel()
		return d.n.calls.Call(ctx, id, callEven, arg, nil, io.Discard)
	}), nil
}

// evenOut tells nodes what they are to do for connections to be even, by their loads: those that
// have too many, and those that an earlier order has at work that is over now. One that cannot be
// told does not keep the others from it.
func evenOut(loads map[string]nodeLoad, rate int, name func(id string) string, tell func(id string, o evenOrder) error) admin.Evening {
	var open []drain.Load
	for id, l := range loads {
		if l.Open {
			open = append(open, drain.Load{Node: id, Clients: l.Clients})
		}
	}
	out, busy := admin.Evening{Nodes: []admin.EveningNode{}}, make(map[string]bool)
	for _, p := range drain.Plan(open, rate) {
		busy[p.Node] = true
		x := admin.EveningNode{Name: name(p.Node), Identity: p.Node, Asks: p.Asks, Rate: p.Rate}
		if err := tell(p.Node, evenOrder{p.Keep, p.Rate}); err != nil {
			x.Failed = err.Error()
		}
		out.Nodes = append(out.Nodes, x)
	}
	for _, id := range slices.Sorted(maps.Keys(loads)) {
		if l := loads[id]; l.ToAsk > 0 && !busy[id] {
			_ = tell(id, evenOrder{Keep: math.MaxInt32, Rate: 1}) // what it asks is bounded in any case
		}
	}
	return out
}
