package listen

import (
	"math/rand/v2"
	"testing"
)

// Mail keeps the order of each caller, whatever else the loops do.
func TestPostOrder(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		type letter struct{ from, number int }
		const callers, letters = 8, 5000
		finished := make(chan struct{}, o.Loops*callers)
		s, _ := serve(t, o, func(l Loop) Handler {
			next := make([]int, callers)
			return &funcs{mail: func(m any) {
				g := m.(letter)
				if g.number != next[g.from] {
					t.Errorf("letter %d of %d came where %d was due", g.number, g.from, next[g.from])
				}
				if next[g.from] = g.number + 1; g.number == letters-1 {
					finished <- struct{}{}
				}
			}}
		})
		all(callers, func(i int) {
			for n := range letters {
				for k := range s.Len() {
					s.Loop(k).Post(letter{i, n})
				}
			}
		})
		for range o.Loops * callers {
			await(t, finished)
		}
		if mail := s.Stats().Mail; mail != uint64(o.Loops*callers*letters) {
			t.Errorf("%d letters counted", mail)
		}
	})
}

// Two loops that answer one another, each asleep until the other's letter comes:
// a lost wake-up would leave both asleep until the next tick, and few rounds done.
func TestPostWakes(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		const rounds = 2000
		finished := make(chan struct{})
		ticks := 0
		var loops [2]Loop
		s, _ := serve(t, o, func(l Loop) Handler {
			loops[l.Index()] = l
			return &funcs{
				mail: func(m any) {
					if n := m.(int); n == rounds {
						close(finished)
					} else {
						loops[1-l.Index()].Post(n + 1)
					}
				},
				tick: func() {
					if l.Index() == 0 {
						ticks++
					}
				},
			}
		})
		s.Loop(0).Post(0)
		await(t, finished)
		if ticks > rounds/10 {
			t.Errorf("%d rounds took %d ticks", rounds, ticks)
		}
	})
}

// Output for a connection of another loop goes by mail, as the broker does it.
func TestRelayBetweenLoops(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		r := newRelay(o.Loops)
		_, addr := serve(t, o, r.handle)
		const n = 16
		all(n, func(i int) {
			rnd := rand.New(rand.NewPCG(5, uint64(i)))
			relayOnce(t, rnd, addr, byte(i))
		})
	})
}
