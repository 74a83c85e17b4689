package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster/control"
	"dunlin/node/admin"
	"dunlin/node/broker"
	"dunlin/proto/mqtt"
	"dunlin/raftstore/meta"
)

// fakeClients are connected until they are sent away.
type fakeClients struct {
	mu    sync.Mutex
	there []uint64
	refer *broker.Elsewhere
	told  *broker.Elsewhere // by the latest that was sent away
	went  []time.Time
}

func (f *fakeClients) Refer(to *broker.Elsewhere) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refer = to
}

func (f *fakeClients) refers() *broker.Elsewhere {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refer
}

func (f *fakeClients) Connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.there)
}

func (f *fakeClients) Connections(ctx context.Context) ([]uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.there), ctx.Err()
}

func (f *fakeClients) SendAway(ctx context.Context, conns []uint64, to *broker.Elsewhere) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range conns {
		if i := slices.Index(f.there, id); i >= 0 {
			f.there = slices.Delete(f.there, i, i+1)
			f.went = append(f.went, time.Now())
		}
	}
	f.told = to
	return ctx.Err()
}

func (f *fakeClients) come(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.there = append(f.there, uint64(time.Now().UnixNano())+uint64(len(f.there)))
	}
}

// drained is a node with clients, in a bubble.
type drained struct {
	*draining
	*fakeClients
	ordered *control.Drain
	t       *testing.T
}

func (d *drained) Order() (control.Drain, bool) {
	if d.ordered == nil {
		return control.Drain{}, false
	}
	return *d.ordered, true
}

func (d *drained) Watch(func(*meta.State)) {}

func inDrained(t *testing.T, f func(d *drained)) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		d := &drained{fakeClients: &fakeClients{}, t: t}
		d.draining = newDraining("ref", d, d.fakeClients, life, &tasks, slog.New(slog.DiscardHandler))
		defer tasks.Wait()
		defer end()
		f(d)
	})
}

// command puts an order in force; nil takes it back. The first one was given before the node began.
func (d *drained) command(o *control.Drain) {
	d.ordered = o
	d.follows.look(d.t.Context())
}

func (d *drained) phase() string {
	d.draining.mu.Lock()
	defer d.draining.mu.Unlock()
	return d.draining.mu.phase
}

// A node that is drained is not ready at once and refuses clients after the notice; it asks those
// that are there, and those that slipped in, at the rate; taken back, it is as before.
func TestDraining(t *testing.T) {
	inDrained(t, func(d *drained) {
		d.come(1000)
		d.command(nil)
		if d.missing() != nil || d.inForce() {
			t.Fatal("drained by no order")
		}
		d.command(&control.Drain{Rate: 100, Notice: 5 * time.Second, Start: 3, Moved: true})
		if d.missing() == nil || d.phase() != admin.PhaseNotice {
			t.Error("ready all the same")
		}
		time.Sleep(5*time.Second - 1)
		if d.refers() != nil || d.Connected() != 1000 {
			t.Error("clients were refused or asked before the notice was over")
		}
		time.Sleep(time.Second)
		if to := d.refers(); to == nil || *to != (broker.Elsewhere{Reason: mqtt.ServerMoved, Reference: "ref"}) || d.phase() != admin.PhaseAsking {
			t.Errorf("%+v, phase %q", to, d.phase())
		}
		// At another rate it goes on, without another notice.
		d.command(&control.Drain{Rate: 500, Notice: 5 * time.Second})
		time.Sleep(3 * time.Second)
		if d.Connected() != 0 || d.phase() != admin.PhaseAsked {
			t.Errorf("%d clients left, phase %q", d.Connected(), d.phase())
		}
		if *d.told != (broker.Elsewhere{Reason: mqtt.UseAnotherServer, Reference: "ref"}) {
			t.Errorf("told %+v", d.told)
		}
		for i := 500; i < len(d.went); i++ {
			if d.went[i].Sub(d.went[i-500]) < time.Second {
				t.Fatalf("more than 500 in a second")
			}
		}
		d.come(3)
		time.Sleep(time.Second)
		if d.Connected() != 0 || d.refers() == nil || d.missing() == nil {
			t.Errorf("%d clients are there that slipped in", d.Connected())
		}
		d.command(nil)
		d.come(3)
		time.Sleep(time.Minute)
		if d.Connected() != 3 || d.refers() != nil || d.missing() != nil || d.phase() != "" {
			t.Errorf("taken back: %d clients, refers to %v, missing %v, phase %q", d.Connected(), d.refers(), d.missing(), d.phase())
		}
	})
}

// Notice is given once: what another order wants is what is left of it, and a node that starts anew
// while it is drained was given none of its clients meanwhile.
func TestNotice(t *testing.T) {
	refuses := func(d *drained, in time.Duration) {
		d.t.Helper()
		time.Sleep(in - 1)
		if d.refers() != nil || d.phase() != admin.PhaseNotice {
			d.t.Fatalf("clients are refused before %v, phase %q", in, d.phase())
		}
		time.Sleep(2 * time.Nanosecond)
		if synctest.Wait(); d.refers() == nil {
			d.t.Fatalf("clients are not refused after %v", in)
		}
	}
	inDrained(t, func(d *drained) {
		d.command(nil)
		d.command(&control.Drain{Rate: 1, Notice: time.Minute})
		time.Sleep(4 * time.Second)
		d.command(&control.Drain{Rate: 1, Notice: 10 * time.Second})
		refuses(d, 6*time.Second)
		d.command(&control.Drain{Rate: 1, Notice: time.Hour})
		if synctest.Wait(); d.phase() == admin.PhaseNotice {
			t.Error("notice is given again")
		}
		d.command(nil)
		time.Sleep(time.Hour)
		d.command(&control.Drain{Cordon: true, Notice: time.Minute})
		time.Sleep(2 * time.Minute)
		d.command(&control.Drain{Rate: 1, Notice: time.Hour})
		if synctest.Wait(); d.refers() == nil || d.phase() == admin.PhaseNotice {
			t.Errorf("a cordoned node that is drained lets clients in again: phase %q", d.phase())
		}
	})
	inDrained(t, func(d *drained) {
		d.command(&control.Drain{Rate: 1, Notice: time.Minute})
		if synctest.Wait(); d.refers() == nil {
			t.Error("a node that was drained when it began lets clients in")
		}
	})
}

// A cordoned node asks nobody. Taken back within the notice, nothing has happened.
func TestCordoned(t *testing.T) {
	inDrained(t, func(d *drained) {
		d.come(10)
		d.command(nil)
		d.command(&control.Drain{Cordon: true, Rate: 10})
		time.Sleep(time.Minute)
		if d.Connected() != 10 || d.refers() == nil || d.missing() == nil || d.phase() != admin.PhaseCordoned {
			t.Errorf("%d clients, refers to %v, missing %v, phase %q", d.Connected(), d.refers(), d.missing(), d.phase())
		}
		d.command(nil)
		d.command(&control.Drain{Rate: 10, Notice: time.Minute})
		time.Sleep(30 * time.Second)
		d.command(nil)
		time.Sleep(time.Hour)
		if d.Connected() != 10 || d.refers() != nil || d.missing() != nil {
			t.Errorf("%d clients, refers to %v, missing %v", d.Connected(), d.refers(), d.missing())
		}
	})
}

// To be even a node asks as many as are too many, not more when others come, and none below
// what it is to keep when others go; a drain ends that.
func TestEven(t *testing.T) {
	inDrained(t, func(d *drained) {
		d.come(1000)
		if err := d.even(700, 100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if left := d.Connected(); left > 910 || left < 890 {
			t.Errorf("%d left after a second", left)
		}
		d.come(50)
		time.Sleep(time.Minute)
		if d.Connected() != 750 || d.toAsk.Load() != 0 || d.refers() != nil || d.missing() != nil {
			t.Errorf("%d left, %d to ask", d.Connected(), d.toAsk.Load())
		}
		if err := d.even(613, 5000); err != nil { // many at a time
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if d.Connected() != 613 {
			t.Errorf("%d left, want 613", d.Connected())
		}
		if err := d.even(0, 10); err != nil {
			t.Fatal(err)
		}
		if err := d.even(500, 10); err != nil { // in place of it
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if d.toAsk.Load() == 0 {
			t.Error("nothing is left to ask")
		}
		d.fakeClients.mu.Lock()
		d.there = d.there[:505] // the others have gone by themselves
		d.fakeClients.mu.Unlock()
		time.Sleep(time.Minute)
		if d.Connected() != 500 {
			t.Errorf("%d left, want 500", d.Connected())
		}
		if err := d.even(0, 1); err != nil {
			t.Fatal(err)
		}
		d.command(&control.Drain{Cordon: true})
		if err := d.even(0, 1); err == nil {
			t.Error("a cordoned node evens out")
		}
		time.Sleep(time.Minute)
		if d.Connected() < 499 {
			t.Errorf("%d left of a cordoned node", d.Connected())
		}
	})
}

// Who cannot be told does not keep the others from it, and who has enough of its excess asked by an
// earlier order, and no excess now, is told to cease.
func TestEvenOut(t *testing.T) {
	told := map[string]evenOrder{}
	e := evenOut(map[string]nodeLoad{
		"a": {Clients: 900, Open: true}, "b": {Clients: 700, Open: true, ToAsk: 3}, "c": {Clients: 0, Open: true, ToAsk: 7},
		"d": {Clients: 5000}, // drained
		"e": {Clients: 10, Open: true},
	}, 100, func(id string) string { return "n" + id }, func(id string, o evenOrder) error {
		told[id] = o
		if id == "a" {
			return errors.New("it has died")
		}
		return nil
	})
	want := []admin.EveningNode{
		{Name: "na", Identity: "a", Asks: 497, Rate: 62, Failed: "it has died"}, {Name: "nb", Identity: "b", Asks: 297, Rate: 37},
	}
	if !slices.Equal(e.Nodes, want) {
		t.Errorf("%+v", e.Nodes)
	}
	if len(told) != 3 || told["b"] != (evenOrder{403, 37}) || told["c"].Keep < 1<<30 {
		t.Errorf("told %+v", told)
	}
	if none := evenOut(nil, 1, nil, nil); none.Nodes == nil || len(none.Nodes) != 0 {
		t.Errorf("of nobody: %+v", none)
	}
}
