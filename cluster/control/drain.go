package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/meta"
	"dunlin/raftstore/placement"
)

// Drain is an order to a node to be left by its clients. It is a record of meta under the
// node's identity, so that every node and each leader of meta knows of it, and that it
// outlives the node's restarts, unless it says otherwise.
type Drain struct {
	Cordon bool          `json:"cordon,omitempty"` // clients that are there stay, and so do leaders
	Moved  bool          `json:"moved,omitempty"`  // clients are told that it is for good
	Rate   int           `json:"rate,omitempty"`   // clients that are asked to go in a second, at most
	Notice time.Duration `json:"notice,omitempty"` // before anybody is refused or asked to go
	Force  bool          `json:"force,omitempty"`  // also if too few nodes are left, see ErrTooFew
	// Start is the start of the node that it is for. It is over when the node starts anew.
	// 0: it is for all of them.
	Start uint64 `json:"start,omitempty"`
}

// readDrain reads the value of a record. What a later release has added to it is left out.
func readDrain(r *meta.Record) (d Drain, err error) {
	err = json.Unmarshal([]byte(r.Value), &d)
	return d, err
}

// mayHold says that the order is about a node that is there, and not about an earlier start of it.
func (d Drain) mayHold(s *meta.State, identity string) bool {
	number, ok := s.Find(identity)
	return ok && (d.Start == 0 || d.Start == s.Nodes[number].Start)
}

// drainOf is the order to a node in that start of it, if there is one.
func drainOf(all *meta.Records, identity string, start uint64) (d Drain, ok bool) {
	r, ok := all.Find(identity)
	if !ok {
		return d, false
	}
	d, err := readDrain(&r)
	return d, err == nil && (d.Start == 0 || d.Start == start)
}

// Order is the one to this node, if there is one. A node that leaves the cluster is drained whatever
// was ordered, at the rate that was, or any if none was: then Rate is 0.
func (c *Control) Order() (d Drain, ok bool) {
	return orderTo(c.State(), c.data.Identity(), c.data.Starts())
}

func orderTo(s *meta.State, identity string, start uint64) (d Drain, ok bool) {
	if d, ok = drainOf(s.Records[meta.KindDrain], identity, start); !ok {
		d = Drain{}
	}
	if number, there := s.Find(identity); there && !s.Nodes[number].Leaving {
		return d, ok
	}
	if d.Cordon {
		d.Cordon, d.Rate = false, 0
	}
	return d, true
}

// Drains are the orders in force, by the nodes' identities.
func Drains(s *meta.State) map[string]Drain {
	drains := make(map[string]Drain)
	for _, r := range s.Records[meta.KindDrain].All() {
		if d, err := readDrain(r); err == nil && d.mayHold(s, r.Name) {
			drains[r.Name] = d
		}
	}
	return drains
}

// Why a node is not drained, beside that it is not there.
var (
	// ErrLastOpen: clients would have nowhere to go.
	ErrLastOpen = errors.New("no other node that can be reached takes clients")
	// ErrTooFew: if those that are drained were stopped, as they are meant to be, a group would have
	// no majority. It is not asked of an order that is forced, nor of groups of one voter, which
	// have none without it at any time.
	ErrTooFew = errors.New("too few nodes would be left")
)

// Drain has a node be left by its clients, and leaders, as the order says, whose Start is
// not read: once has it be over when the node starts anew. A former order is replaced, but
// one that outlives a start goes on to: who stops a node asks with once, and does not know
// that somebody else wants it left alone. When Drain returns nil, State has it. Errors are
// ErrNoNode, ErrNotNow together with ErrLastOpen or ErrTooFew, and those of Propose.
func (c *Control) Drain(ctx context.Context, node string, d Drain, once bool) error {
	s := c.State()
	number, err := find(s, node)
	if err != nil {
		return err
	}
	n := s.Nodes[number]
	if err := c.sparing(s).spares(n.Identity, d); err != nil {
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	d.Start = 0
	if former, ok := Drains(s)[n.Identity]; once && ok && former.Start == 0 {
		d.Moved = d.Moved || former.Moved
	} else if once {
		d.Start = n.Start
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	_, err = c.Records(meta.KindDrain).Put(ctx, n.Identity, string(text))
	return notNow(err)
}

// notNow adds ErrNotNow to what meta's leader refuses because other nodes are needed.
func notNow(err error) error {
	if errors.Is(err, ErrLastOpen) || errors.Is(err, ErrTooFew) {
		return fmt.Errorf("%w: %w: ask again, another node was drained or is not there", ErrNotNow, err)
	}
	return err
}

// asksFor is what has to be so for an entry to be taken, nil if nothing: of those that have a node
// be left by its clients.
func asksFor(entry []byte) func(*sparing) error {
	cmd, err := meta.Decode(entry)
	if err != nil {
		return nil
	}
	switch cmd := cmd.(type) {
	case *meta.PutRecord:
		d, err := readDrain(&meta.Record{Value: cmd.Value})
		if cmd.Kind != meta.KindDrain || err != nil { // a later release knows what it says
			return nil
		}
		return func(x *sparing) error { return x.spares(cmd.Name, d) }
	case *meta.Leave:
		if !cmd.Stays {
			return func(x *sparing) error { return x.sparesForGood(cmd.Node) }
		}
	}
	return nil
}

// applySparing is commit, if what is asked for is so. A leader of meta takes one such entry after
// the other, with all before it in its state: two nodes that are drained at one time must not each
// count on the other.
func (c *Control) applySparing(r *raft.Raft, entry []byte, asked func(*sparing) error) outcome {
	c.drains.Lock()
	defer c.drains.Unlock()
	if err := r.Barrier(applyTimeout).Error(); err != nil {
		return outcome{Why: err.Error()}
	}
	err := asked(c.sparing(c.State()))
	for _, why := range []error{ErrLastOpen, ErrTooFew} {
		if errors.Is(err, why) {
			return outcome{Fate: carriedOut, Why: why.Error()}
		}
	}
	return c.commit(r, entry)
}

// Undrain takes back the order to drain a node, if there is one. For errors see Drain; of a node
// that leaves it is ErrNotNow.
func (c *Control) Undrain(ctx context.Context, node string) error {
	s := c.State()
	number, err := find(s, node)
	if err != nil {
		return err
	}
	if s.Nodes[number].Leaving {
		return fmt.Errorf("%w: %s is leaving the cluster, and is drained for that", ErrNotNow, node)
	}
	cmd := &meta.RemoveRecord{Kind: meta.KindDrain, Name: s.Nodes[number].Identity}
	done, err := c.proposeAgain(ctx, cmd)
	if errors.Is(err, meta.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.learn(ctx, done.Index)
}

// sparing is what a cluster can do without some of its nodes.
type sparing struct {
	state  *meta.State
	meta   []string         // the voters of meta's group
	drains map[string]Drain // in force
	up     map[string]bool  // who can be reached and is admitted
}

// sparing is of the nodes as this one reaches them.
func (c *Control) sparing(s *meta.State) *sparing {
	x := &sparing{state: s, meta: c.Voters(), drains: Drains(s), up: make(map[string]bool)}
	for _, n := range c.nodes(s).Nodes {
		number, _ := s.Find(n.ID)
		known := s.Nodes[number]
		x.up[n.ID] = n.State == placement.Alive && known.Entitled(known.Generation)
	}
	return x
}

// spares says why a node cannot be drained so, if it cannot: ErrLastOpen or ErrTooFew, and more.
func (x *sparing) spares(identity string, d Drain) error {
	was, ordered := x.drains[identity]
	if ordered && (d.Cordon || !was.Cordon) {
		return nil // there is no less without it than there was
	}
	if !x.openBeside(identity) {
		return ErrLastOpen
	}
	if number, _ := x.state.Find(identity); d.Cordon || d.Force || x.state.Nodes[number].Leaving {
		return nil // it goes on, or is emptied before it is stopped
	}
	short := 0
	if x.lacks(x.meta, identity) {
		short++
	}
	for _, g := range x.state.Groups {
		var voters []string
		for _, r := range g.Replicas {
			if r.Voter {
				voters = append(voters, x.state.Nodes[r.Node].Identity)
			}
		}
		if x.lacks(voters, identity) {
			short++
		}
	}
	if short == 0 {
		return nil
	}
	var without []string
	for _, n := range x.nodes() {
		if n.Identity != identity && !x.counts(n.Identity) {
			without = append(without, n.Name)
		}
	}
	why := fmt.Errorf("%w: %d groups would have no majority of their voters without it", ErrTooFew, short)
	if len(without) > 0 {
		why = fmt.Errorf("%w, as %s is drained or not there", why, strings.Join(without, ", "))
	}
	return why
}

// sparesForGood says why a node cannot leave the cluster, if it cannot: it is ErrLastOpen. What
// else it takes meta knows, and where its replicas go placement.
func (x *sparing) sparesForGood(number uint32) error {
	n := x.state.Nodes[number]
	_, drained := x.drains[n.Identity]
	stay := slices.ContainsFunc(x.nodes(), func(o meta.Node) bool { return o.Identity != n.Identity && !o.Leaving })
	if !x.up[n.Identity] || drained || n.Leaving || !stay || x.openBeside(n.Identity) {
		return nil
	}
	return ErrLastOpen
}

// openBeside says that another node takes clients.
func (x *sparing) openBeside(identity string) bool {
	return slices.ContainsFunc(x.nodes(), func(n meta.Node) bool {
		_, drained := x.drains[n.Identity]
		return n.Identity != identity && x.up[n.Identity] && !drained && !n.Leaving
	})
}

// lacks says that a group of several voters, of which the node is one, has no majority without it.
func (x *sparing) lacks(voters []string, identity string) bool {
	left := 0
	for _, v := range voters {
		if v != identity && x.counts(v) {
			left++
		}
	}
	return len(voters) > 1 && slices.Contains(voters, identity) && left <= len(voters)/2
}

// counts says that a node is there, and not about to be stopped.
func (x *sparing) counts(identity string) bool {
	d, drained := x.drains[identity]
	return x.up[identity] && (!drained || d.Cordon)
}

// nodes are all, by number.
func (x *sparing) nodes() (all []meta.Node) {
	for _, number := range slices.Sorted(maps.Keys(x.state.Nodes)) {
		all = append(all, x.state.Nodes[number])
	}
	return all
}
