package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"dunlin/e2e/chaos/history"
)

// undecided is how long one partition may occupy porcupine.
const undecided = 20 * time.Second

// owner (P5): the connections of a client identifier are a fenced register. A
// claim, CONNECT to CONNACK, makes a connection the owner; a write, which is
// whatever was acknowledged and changes the session or its publishes, is taken
// from the owner alone. Left out is P5's own exception: a publish that no
// persistent session certainly wanted.
//
// Writes without answer are left out, for it does not matter to others whether
// they happened; claims without answer may have happened at any time.
func owner(w *world) []Violation {
	r := report{rule: "owner"}
	type op struct {
		claim bool
		conn  int
	}
	for client, cs := range w.clients {
		if len(cs) < 2 {
			continue
		}
		connected := make(map[int]*history.Event)
		for _, c := range cs {
			connected[c.connect.Conn] = c.connect
		}
		var ops []porcupine.Operation
		add := func(e *history.Event, o op, call time.Duration) {
			ops = append(ops, porcupine.Operation{Input: o, Call: int64(call), Return: int64(e.Return), Metadata: e})
		}
		for i := range w.h.Events {
			e := &w.h.Events[i]
			if e.Client != client {
				continue
			}
			switch {
			case e.Op == history.Connect && e.Outcome != history.Fail:
				add(e, op{true, e.Conn}, e.Invoke)
			case e.Outcome != history.OK:
			case e.Op == history.Subscribe, e.Op == history.Unsubscribe:
				add(e, op{false, e.Conn}, e.Invoke)
			case e.Op == history.Publish && e.QoS > 0 && w.wanted(e):
				if c := connected[e.AckConn]; c != nil {
					add(e, op{false, e.AckConn}, max(e.Invoke, c.Invoke))
				}
			}
		}
		model := porcupine.Model{
			Init: func() any { return 0 },
			Step: func(state, input, _ any) (bool, any) {
				if o := input.(op); o.claim {
					return true, o.conn
				} else {
					return state.(int) == o.conn, state
				}
			},
		}
		if verdict := porcupine.CheckOperationsTimeout(model, ops, undecided); verdict != porcupine.Ok {
			r.add("%s: what was acknowledged to its %d connections fits no order of owners (%s)%s", client, len(cs), verdict, w.fenced(cs))
		}
	}
	return r.sorted()
}

// wanted says whether some persistent session certainly wanted p when it was
// acknowledged.
func (w *world) wanted(p *history.Event) bool {
	for _, l := range w.lives {
		if l.persistent() && l.until >= p.Return && l.wants(p, 1, p.Return) {
			return true
		}
	}
	return false
}

// fenced names acknowledgements to a connection for what was sent after the
// CONNACK of a newer one: the plain case, to make a failure readable.
func (w *world) fenced(cs []*conn) string {
	var b strings.Builder
	for i := range w.h.Events {
		e := &w.h.Events[i]
		if e.Client != cs[0].connect.Client || e.Outcome != history.OK || e.Op != history.Subscribe && e.Op != history.Unsubscribe && e.Op != history.Publish {
			continue
		}
		at := max(e.Conn, e.AckConn)
		for _, c := range cs {
			if c.connect.Conn > at && c.connect.Return < e.Invoke {
				fmt.Fprintf(&b, "; %s %s%s of connection %d, sent after %v, when connection %d had its CONNACK", e.Op, e.Filter, e.Payload, at, e.Invoke, c.connect.Conn)
				break
			}
		}
	}
	return b.String()
}

// Claim is an epoch that a replica held of a client, at some index of its shard's
// log between two.
type Claim struct {
	Client       string
	Node         string
	Since, Until uint64
	Epoch        uint64
}

// Epochs (P5, E1): the epochs of a client rise along its shard's log, whichever
// replica tells them.
func Epochs(claims []Claim) []Violation {
	r := report{rule: "owner: epoch"}
	of := make(map[string][]Claim)
	for _, c := range claims {
		of[c.Client] = append(of[c.Client], c)
	}
	for _, later := range of {
		before := slices.Clone(later)
		slices.SortFunc(before, func(a, b Claim) int { return cmp.Compare(a.Until, b.Until) })
		slices.SortFunc(later, func(a, b Claim) int { return cmp.Compare(a.Since, b.Since) })
		var highest Claim
		for _, c := range later {
			for len(before) > 0 && before[0].Until <= c.Since {
				if before[0].Epoch > highest.Epoch {
					highest = before[0]
				}
				before = before[1:]
			}
			if c.Epoch < highest.Epoch {
				r.add("%s: epoch %d on %s at %d, when %s had %d at %d", c.Client, c.Epoch, c.Node, c.Since, highest.Node, highest.Epoch, highest.Until)
			}
		}
	}
	return r.sorted()
}
