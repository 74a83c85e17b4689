package drain

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// No more than the rate go in any second, wherever that begins and however late somebody
// asks, and hardly fewer.
func TestPace(t *testing.T) {
	for _, rate := range []int{1, 2, 3, 7, 49, 50, 99, 100, 101, 500, 999, 12345, 100_000} {
		for _, late := range []time.Duration{0, time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint(rate, " late ", late), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(uint64(rate), uint64(late)))
				now := time.Unix(0, 0)
				p := NewPace(rate, now)
				var went []time.Time // one for each that went
				end := now.Add(5 * time.Second)
				for now.Before(end) {
					n := 1 + rnd.IntN(p.Most())
					if wait := p.Wait(n, now); wait > 0 {
						if p.Take(n, now) {
							t.Fatalf("%d went before their time", n)
						}
						if now = now.Add(wait); p.Wait(n, now) != 0 {
							t.Fatalf("waited %v for %d, and not long enough", wait, n)
						}
						if late > 0 {
							now = now.Add(time.Duration(rnd.Int64N(int64(late))))
						}
						continue
					}
					if !p.Take(n, now) {
						t.Fatalf("%d may not go that have not to wait", n)
					}
					for range n {
						went = append(went, now)
					}
				}
				from := 0
				for to := range went {
					for went[to].Sub(went[from]) >= time.Second {
						from++
					}
					if n := to - from + 1; n > rate {
						t.Fatalf("%d in the second before %v", n, went[to].Sub(time.Unix(0, 0)))
					}
				}
				if late == 0 && len(went) < 5*rate*9/10-1 {
					t.Errorf("%d in five seconds", len(went))
				}
			})
		}
	}
}

// All clients go once, in no order, at the rate; nobody goes when it is called off or enough
// have gone.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, rate = 3000, 500
		list := func() []uint64 {
			ids := make([]uint64, clients)
			for i := range ids {
				ids[i] = uint64(i)
			}
			return ids
		}
		leave := func(ctx context.Context, enough int) (went []uint64, at []time.Time) {
			Leave(ctx, list(), NewPace(rate, time.Now()), func(some []uint64) bool {
				for _, id := range some {
					went, at = append(went, id), append(at, time.Now())
				}
				return len(went) < enough
			})
			return went, at
		}
		began := time.Now()
		went, at := leave(t.Context(), clients+1)
		if took := time.Since(began); took < clients/rate*time.Second || took > (clients/rate+1)*time.Second {
			t.Errorf("%d clients were gone after %v", clients, took)
		}
		if slices.IsSorted(went) {
			t.Error("they went in order")
		}
		for i := rate; i < len(at); i++ {
			if at[i].Sub(at[i-rate]) < time.Second {
				t.Fatalf("more than %d from %v on", rate, at[i-rate].Sub(began))
			}
		}
		slices.Sort(went)
		if !slices.Equal(went, list()) {
			t.Errorf("%d went, not all or not once", len(went))
		}

		if went, _ := leave(t.Context(), 1000); len(went) < 1000 || len(went) > 1000+rate/50 {
			t.Errorf("%d went where 1000 were enough", len(went))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if went, _ := leave(ctx, clients+1); len(went) > 2*rate || len(went) < rate {
			t.Errorf("%d went in two seconds", len(went))
		}
	})
}

func TestPlan(t *testing.T) {
	loads := func(clients ...int) (ls []Load) {
		for i, n := range clients {
			ls = append(ls, Load{fmt.Sprint("n", i), n})
		}
		return ls
	}
	for _, c := range []struct {
		name  string
		loads []Load
		rate  int
		want  []Part
	}{
		{"none", nil, 1, nil},
		{"one", loads(1000), 1, nil},
		{"even", loads(1000, 1000, 1000), 10, nil},
		{"nearly even", loads(1040, 980, 980), 10, nil},
		{"a few clients", loads(4, 0, 0), 10, nil},
		{"a new node", loads(1000, 1000, 1000, 0), 300, []Part{
			{"n0", 750, 250, 100}, {"n1", 750, 250, 100}, {"n2", 750, 250, 100},
		}},
		{"by how much each has too many", loads(2000, 1100, 0, 0), 100, []Part{
			{"n0", 775, 1225, 79}, {"n1", 775, 325, 20},
		}},
		{"fewer in a second than nodes", loads(100, 300, 200, 0, 0, 0), 1, []Part{{"n1", 100, 200, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Plan(c.loads, c.rate)
			if !slices.Equal(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// Whatever there is: no node is asked below the average, or for more than its excess, the
// rates are no more than the rate together, and the order decides nothing.
func TestAnyPlan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var loads []Load
		total := 0
		for i := range rnd.IntN(8) {
			loads = append(loads, Load{fmt.Sprint(i), rnd.IntN(1 + rnd.IntN(5000))})
			total += loads[i].Clients
		}
		rate := 1 + rnd.IntN(600)
		plan := Plan(loads, rate)
		of := map[string]int{}
		for _, l := range loads {
			of[l.Node] = l.Clients
		}
		rates := 0
		for _, p := range plan {
			rates += p.Rate
			if p.Keep*len(loads) < total || p.Asks != of[p.Node]-p.Keep || p.Asks < 1 || p.Rate < 1 {
				t.Fatalf("%+v of %v", p, loads)
			}
		}
		if rates > rate {
			t.Fatalf("%d in a second of %d: %+v", rates, rate, plan)
		}
		rnd.Shuffle(len(loads), func(i, j int) { loads[i], loads[j] = loads[j], loads[i] })
		if again := Plan(loads, rate); !slices.Equal(again, plan) {
			t.Fatalf("%+v, and in another order %+v", plan, again)
		}
	}
}
