package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/raftstore/meta"
)

// admitted has nodes be admitted in their present generations, and be known as such to all.
func (l *lab) admitted(nodes ...int) {
	l.t.Helper()
	for _, i := range nodes {
		n := l.nodes[i]
		s := n.State()
		number, _ := s.Find(n.data.Identity())
		if _, err := n.Propose(l.t.Context(), &meta.Admit{Node: number, Generation: s.Nodes[number].Generation}); err != nil {
			l.t.Fatal(err)
		}
	}
	l.until("all knowing who is admitted", func() bool {
		for _, n := range l.running() {
			up := n.sparing(n.State()).up
			for _, i := range nodes {
				if !up[l.nodes[i].data.Identity()] {
					return false
				}
			}
		}
		return true
	})
}

// gathered starts three nodes and waits until they are a cluster that serves.
func (l *lab) gathered() {
	l.t.Helper()
	for i := range 3 {
		l.start(i)
	}
	l.works()
	l.admitted(0, 1, 2)
	l.settled("abc")
}

// A drained node leads nothing, meta included, and is not given anything to lead until that
// is taken back; a cordoned one leads on. The last node that takes clients is not drained.
func TestDrain(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.gathered()
		ctx := l.t.Context()
		led := func(node string) (n int) {
			for sh := range uint16(labShards) {
				if l.leads(sh) == node {
					n++
				}
			}
			if l.leads(MetaGroup) == node {
				n++
			}
			return n
		}
		victim := l.metaLeader()
		name := string(rune('a' + victim))
		other := l.nodes[(victim+1)%3]
		if _, err := other.drain(name, Drain{Cordon: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if led(name) == 0 {
			t.Error("a cordoned node has handed over")
		}
		// That a node was away a moment ago keeps leaders from moving for balance, and not now.
		third := (victim + 2) % 3
		l.kill(third)
		<-l.start(third).entered
		l.admitted(third)
		began := time.Now()
		if _, err := other.drain(name, Drain{Rate: 7, Notice: time.Second}); err != nil {
			t.Fatal(err)
		}
		l.until("handing over", func() bool { return led(name) == 0 })
		if took := time.Since(began); took > calmFor/2 {
			t.Errorf("handing over took %v", took)
		}
		for range 60 {
			time.Sleep(time.Second)
			if n := led(name); n > 0 {
				t.Fatalf("it leads %d groups again", n)
			}
		}
		for i, n := range l.nodes {
			if d := Drains(n.State()); len(d) != 1 || d[l.nodes[victim].data.Identity()] != (Drain{Rate: 7, Notice: time.Second}) {
				t.Errorf("%d knows of %+v", i, d)
			}
		}
		next := string(rune('a' + (victim+1)%3))
		if err := other.Drain(ctx, next, Drain{}, false); !errors.Is(err, ErrNotNow) || !errors.Is(err, ErrTooFew) {
			t.Errorf("two of three drained: %v", err)
		}
		if err := other.Drain(ctx, next, Drain{Force: true}, false); err != nil {
			t.Fatal(err)
		}
		last := string(rune('a' + (victim+2)%3))
		if err := other.Drain(ctx, last, Drain{Force: true}, false); !errors.Is(err, ErrNotNow) || !errors.Is(err, ErrLastOpen) {
			t.Errorf("the last one drained: %v", err)
		}
		if err := other.Leave(ctx, last, false); !errors.Is(err, ErrNotNow) || !errors.Is(err, ErrLastOpen) || strings.Contains(err.Error(), "ask again") {
			t.Errorf("the last one removed: %v", err)
		}
		if err := other.Drain(ctx, name, Drain{Rate: 8}, false); err != nil {
			t.Errorf("another rate: %v", err)
		}
		if err := other.Drain(ctx, "z", Drain{}, false); !errors.Is(err, ErrNoNode) {
			t.Errorf("an unknown node drained: %v", err)
		}
		for range 2 { // the second time there is none
			for _, node := range []string{name, next} {
				if err := other.Undrain(ctx, node); err != nil {
					t.Fatal(err)
				}
			}
		}
		if d := Drains(other.State()); len(d) != 0 {
			t.Errorf("after undrain: %+v", d)
		}
		l.until("leading again", func() bool { return led(name) > 0 })
	})
}

// A drained node may be elected, when others fail or somebody has it lead: what it leads moves on
// within seconds, meta too, as long as another voter is there.
func TestDrainedIsElected(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.gathered()
		ctx, at := l.t.Context(), l.nodes[1]
		if err := at.Drain(ctx, "a", Drain{}, false); err != nil {
			t.Fatal(err)
		}
		groups := []uint16{0, 1, 2, 3, MetaGroup}
		led := func() (n int) {
			for _, g := range groups {
				if l.leads(g) == "a" {
					n++
				}
			}
			return n
		}
		moved := func(what string) {
			t.Helper()
			began := time.Now()
			l.until(what, func() bool {
				for _, g := range groups {
					if x := l.leads(g); x == "" || x == "a" {
						return false
					}
				}
				return true
			})
			if took := time.Since(began); took > 3*reconcilePace {
				t.Errorf("%s: it led for %v", what, took)
			}
		}
		moved("handing over")
		leads := func(g uint16) bool {
			for range 100 {
				if l.leads(g) == "a" {
					return true
				}
				time.Sleep(5 * time.Millisecond)
			}
			return false
		}
		for _, g := range groups {
			// Who is told to lead stands for election, which another may win.
			l.until("its leading", func() bool { return at.Transfer(ctx, g, "a") == nil && leads(g) })
			moved(fmt.Sprintf("group %d moving on", g))
		}
		l.kill(2)
		l.until("others leading what c led", func() bool {
			for _, g := range groups {
				if x := l.leads(g); x == "" || x == "c" {
					return false
				}
			}
			return true
		})
		moved("moving on, with a node that does not answer")
		for range 30 {
			time.Sleep(time.Second)
			if n := led(); n > 0 {
				t.Fatalf("it leads %d groups again", n)
			}
		}
	})
}

// Of nodes that are drained at one time, each by another node, as many are as can be: two never
// count on each other.
func TestDrainsAtOnce(t *testing.T) {
	for _, c := range []struct {
		order Drain
		want  int
	}{{Drain{}, 1}, {Drain{Force: true}, 2}, {Drain{Cordon: true}, 2}} {
		t.Run(fmt.Sprintf("%+v", c.order), func(t *testing.T) {
			inLab(t, 3, func(l *lab) {
				for i := range 3 {
					l.start(i)
				}
				l.works()
				l.admitted(0, 1, 2)
				l.settled("abc")
				errs := make(chan error)
				for i, n := range l.nodes {
					go func() { errs <- n.Drain(l.t.Context(), string(rune('a'+(i+1)%3)), c.order, false) }()
				}
				taken := 0
				for range l.nodes {
					switch err := <-errs; {
					case err == nil:
						taken++
					case !errors.Is(err, ErrNotNow):
						t.Error(err)
					}
				}
				l.until("all knowing", func() bool {
					return len(Drains(l.nodes[0].State())) == taken && len(Drains(l.nodes[1].State())) == taken && len(Drains(l.nodes[2].State())) == taken
				})
				if taken != c.want {
					t.Errorf("%d of 3 are drained, want %d", taken, c.want)
				}
			})
		})
	}
}

// What a cluster can do without.
func TestSparing(t *testing.T) {
	groups := func(voters ...string) map[uint16]meta.Group { // by letters
		gs := make(map[uint16]meta.Group)
		for i, v := range voters {
			var g meta.Group
			for _, x := range v {
				g.Replicas = append(g.Replicas, meta.Replica{Node: uint32(x-'a') + 1, Voter: true})
			}
			gs[uint16(i)] = g
		}
		return gs
	}
	stop, cordon, force := Drain{Rate: 1}, Drain{Cordon: true}, Drain{Force: true}
	type drains = map[string]Drain
	for _, tt := range []struct {
		name    string
		nodes   int
		groups  map[uint16]meta.Group
		meta    string
		down    string
		leaving string
		drains  drains
		order   Drain
		want    error
	}{
		{"one of three", 3, groups("abc"), "abc", "", "", nil, stop, nil},
		{"the only one", 1, groups("a"), "a", "", "", nil, stop, ErrLastOpen},
		{"the only one, cordoned", 1, groups("a"), "a", "", "", nil, cordon, ErrLastOpen},
		{"one of two, where each group has one voter", 2, groups("a", "b"), "a", "", "", nil, stop, nil},
		{"all others down", 3, groups("abc"), "abc", "bc", "", nil, force, ErrLastOpen},
		{"one down", 3, groups("abc"), "abc", "b", "", nil, stop, ErrTooFew},
		{"one down, forced", 3, groups("abc"), "abc", "b", "", nil, force, nil},
		{"one down, to be cordoned", 3, groups("abc"), "abc", "b", "", nil, cordon, nil},
		{"one cordoned", 3, groups("abc"), "abc", "", "", drains{"b": cordon}, stop, nil},
		{"one drained", 3, groups("abc"), "abc", "", "", drains{"b": stop}, stop, ErrTooFew},
		{"one drained, of another group", 4, groups("abc", "acd"), "abc", "", "", drains{"b": stop}, stop, ErrTooFew},
		{"it votes where nobody is missing", 5, groups("cde", "acd"), "cde", "", "", drains{"b": stop}, stop, nil},
		{"meta lacks a majority", 5, groups("cde"), "abc", "", "", drains{"b": stop}, stop, ErrTooFew},
		{"one drained of five voters", 5, groups("abcde"), "abcde", "", "", drains{"b": stop}, stop, nil},
		{"two drained of five voters", 5, groups("abcde"), "abcde", "", "", drains{"b": stop, "c": stop}, stop, ErrTooFew},
		{"the others leave", 3, groups("abc"), "abc", "", "bc", nil, stop, ErrLastOpen},
		{"it leaves itself", 3, groups("abc"), "abc", "", "a", drains{"b": stop}, stop, nil},
		{"it is drained, at another rate", 3, groups("abc"), "abc", "", "", drains{"a": stop, "b": stop, "c": stop}, Drain{Rate: 2}, nil},
		{"it is drained, to be cordoned only", 3, groups("abc"), "abc", "", "", drains{"a": stop, "b": stop, "c": stop}, cordon, nil},
		{"it is cordoned, to be drained", 3, groups("abc"), "abc", "b", "", drains{"a": cordon}, stop, ErrTooFew},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := &sparing{
				state: &meta.State{Nodes: make(map[uint32]meta.Node), Groups: tt.groups}, meta: strings.Split(tt.meta, ""),
				drains: tt.drains, up: make(map[string]bool),
			}
			for i := range tt.nodes {
				id := string(rune('a' + i))
				x.state.Nodes[uint32(i)+1] = meta.Node{Identity: id, Name: id, Leaving: strings.Contains(tt.leaving, id)}
				x.up[id] = !strings.Contains(tt.down, id)
			}
			if err := x.spares("a", tt.order); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// drain orders it of a node and says what it was.
func (n *labNode) drain(node string, d Drain) (Drain, error) {
	return d, n.Drain(n.lab.t.Context(), node, d, false)
}

// An order outlives restarts of the node unless it is for one start and there was none that does, and is gone with the node.
func TestDrainAndRestart(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		l.admitted(0, 1)
		l.settled("abc")
		ctx, at := l.t.Context(), l.nodes[0]
		recorded := func() int { return len(at.State().Records[meta.KindDrain].All()) }
		for _, try := range []struct {
			once bool
			want int
		}{{true, 0}, {false, 1}, {true, 1}} {
			once, want := try.once, try.want
			if err := at.Drain(ctx, "c", Drain{}, once); err != nil {
				t.Fatal(err)
			}
			l.kill(2)
			if n := len(Drains(at.State())); n != 1 {
				t.Errorf("once %v, stopped: %d orders", once, n)
			}
			n := l.start(2)
			<-n.entered
			l.until("its start being known", func() bool {
				number, _ := at.State().Find(n.data.Identity())
				return at.State().Nodes[number].Start == n.data.Starts()
			})
			if got := len(Drains(at.State())); got != want {
				t.Errorf("once %v, started anew: %d orders, want %d", once, got, want)
			}
			l.until(fmt.Sprintf("%d records", want), func() bool { return recorded() == want })
		}
		if err := at.Drain(ctx, "c", Drain{}, false); err != nil {
			t.Fatal(err)
		}
		if err := at.Leave(ctx, "c", false); err != nil {
			t.Fatal(err)
		}
		if err := at.Undrain(ctx, "c"); !errors.Is(err, ErrNotNow) {
			t.Errorf("what leaves is not drained: %v", err)
		}
		l.until("nothing of what has left", func() bool { return len(at.State().Nodes) == 2 && recorded() == 0 })
	})
}

// A node that leaves is drained whatever was ordered, and so is one that has left.
func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		node   meta.Node // the zero value: it is not there
		record string
		want   Drain
		given  bool
	}{
		{"nothing", meta.Node{Identity: "a"}, "", Drain{}, false},
		{"drained", meta.Node{Identity: "a"}, `{"rate": 7, "start": 3}`, Drain{Rate: 7, Start: 3}, true},
		{"of an earlier start", meta.Node{Identity: "a"}, `{"rate": 7, "start": 2}`, Drain{}, false},
		{"leaves", meta.Node{Identity: "a", Leaving: true}, "", Drain{}, true},
		{"leaves, and was drained", meta.Node{Identity: "a", Leaving: true}, `{"rate": 7, "moved": true}`, Drain{Rate: 7, Moved: true}, true},
		{"leaves, and was cordoned", meta.Node{Identity: "a", Leaving: true}, `{"rate": 7, "cordon": true}`, Drain{}, true},
		{"has left", meta.Node{}, "", Drain{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &meta.State{Nodes: map[uint32]meta.Node{1: tt.node}, Records: map[meta.Kind]*meta.Records{}}
			if tt.record != "" {
				s.Records[meta.KindDrain] = &meta.Records{Revision: 1, List: []*meta.Record{{Name: "a", Value: tt.record, Revision: 1}}}
			}
			if d, given := orderTo(s, "a", 3); d != tt.want || given != tt.given {
				t.Errorf("%+v, %v", d, given)
			}
		})
	}
}

// What a later release writes of a drain is not thrown away by one that cannot read it.
func TestUnreadableDrain(t *testing.T) {
	s := &meta.State{
		Nodes: map[uint32]meta.Node{1: {Identity: "a", Start: 3}, 2: {Identity: "b", Start: 4}, 3: {Identity: "c", Start: 5}},
		Records: map[meta.Kind]*meta.Records{meta.KindDrain: {Revision: 5, List: []*meta.Record{
			{Name: "a", Value: `{"rate": "later"}`, Revision: 1},
			{Name: "b", Value: `{"start": 4, "later": 1}`, Revision: 2},
			{Name: "c", Value: `{"start": 4}`, Revision: 3},
			{Name: "d", Value: `{"rate": "later"}`, Revision: 4},
		}}},
	}
	if d := Drains(s); len(d) != 1 || d["b"] != (Drain{Start: 4}) {
		t.Errorf("%+v", d)
	}
	var removed []string
	for _, c := range (&outlook{state: s}).commands() {
		r, ok := c.(*meta.RemoveRecord)
		if !ok || r.Was == nil {
			t.Fatalf("%#v", c)
		}
		removed = append(removed, r.Name)
	}
	if !slices.Equal(removed, []string{"c", "d"}) {
		t.Errorf("removed %q", removed)
	}
}
