package raftnet

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const beat = 50 * time.Millisecond

// ballot is the deciders of a group's voters. Each reports what it is told to.
type ballot struct {
	voters []string
	at     map[string]*decider
	says   map[string]following // who reports what, again and again
}

func newBallot(voters ...string) *ballot {
	b := &ballot{voters: voters, at: make(map[string]*decider), says: make(map[string]following)}
	for _, v := range voters {
		b.at[v] = newDecider(v, beat)
	}
	return b
}

// gone makes voters report a leader, with equal logs unless said otherwise.
func (b *ballot) gone(leader string, term uint64, by ...string) {
	for _, v := range by {
		b.says[v] = following{
			report: report{group: 1, leader: leader, term: term, last: position{term, 100}},
			voters: b.voters,
		}
	}
}

func (b *ballot) last(v string, p position) {
	f := b.says[v]
	f.last = p
	b.says[v] = f
}

// run passes reports every half interval, those that reach says can, and
// returns who stood and when.
func (b *ballot) run(from, to time.Duration, reach func(from, to string) bool) (stood []string) {
	for now := from; now <= to; now += beat / 2 {
		for _, v := range b.voters {
			f, ok := b.says[v]
			if !ok {
				continue
			}
			for _, w := range b.voters {
				if w != v && w != f.leader && reach(v, w) {
					b.at[w].hear(now, v, f.report)
				}
			}
		}
		for _, v := range b.voters {
			if f, ok := b.says[v]; ok && b.at[v].decide(now, f) {
				stood = append(stood, fmt.Sprintf("%s %v", v, now))
			}
		}
	}
	return stood
}

func everywhere(string, string) bool { return true }

func TestWhoStands(t *testing.T) {
	const start, end = time.Second, time.Second + 4*beat
	for _, c := range []struct {
		name   string
		voters string
		set    func(b *ballot)
		want   string
	}{
		{"both followers of three report: one stands at once", "abc", func(b *ballot) {
			b.gone("a", 5, "b", "c")
		}, "[c 1s]"},
		{"one of three is no majority", "abc", func(b *ballot) {
			b.gone("a", 5, "b")
		}, "[]"},
		{"the one with more of the log", "abc", func(b *ballot) {
			b.gone("a", 5, "b", "c")
			b.last("b", position{5, 101})
		}, "[b 1s]"},
		{"a higher term counts more than a longer log", "abc", func(b *ballot) {
			b.gone("a", 5, "b", "c")
			b.last("b", position{4, 200})
		}, "[c 1s]"},
		{"three of five: the others are waited for a little", "abcde", func(b *ballot) {
			b.gone("a", 5, "b", "c", "d")
		}, "[c 1.025s]"},
		{"two of five and the leader's word for another", "abcde", func(b *ballot) {
			b.gone("a", 5, "b", "c")
			b.gone("b", 5, "a")
		}, "[]"},
		{"reports of different terms do not add up", "abc", func(b *ballot) {
			b.gone("a", 5, "b")
			b.gone("a", 6, "c")
		}, "[]"},
		{"reports about different leaders do not add up", "abcde", func(b *ballot) {
			b.gone("a", 5, "b", "c")
			b.gone("b", 5, "d", "e")
		}, "[]"},
		{"two voters: nobody can stand without the other", "ab", func(b *ballot) {
			b.gone("a", 5, "b")
		}, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var voters []string
			for _, v := range c.voters {
				voters = append(voters, string(v))
			}
			b := newBallot(voters...)
			c.set(b)
			if got := fmt.Sprint(b.run(start, end, everywhere)); got != c.want {
				t.Errorf("stood: %s, want %s", got, c.want)
			}
		})
	}
}

// b and c report each other for ever, as leaders of whatever: a is heard by both
// and reports nobody.
func TestTwoThatCannotMeetNeverStand(t *testing.T) {
	b := newBallot("a", "b", "c")
	b.gone("b", 5, "c")
	b.gone("c", 5, "b")
	if got := b.run(time.Second, time.Minute, everywhere); len(got) > 0 {
		t.Errorf("stood: %v", got)
	}
}

// Reports that reach others one way only: those who hear a majority decide, and
// no two of them differently.
func TestReportsOneWayOnly(t *testing.T) {
	b := newBallot("a", "b", "c", "d", "e")
	b.gone("a", 5, "b", "c", "d", "e")
	got := b.run(time.Second, time.Second+4*beat, func(from, to string) bool { return from < to })
	// d hears b and c; e hears all and waits for none. c hears b alone.
	for _, s := range got {
		if s[0] == 'b' || s[0] == 'c' {
			t.Errorf("stood without a majority: %v", got)
		}
	}
}

func TestOldReportsDoNotCount(t *testing.T) {
	d := newDecider("b", beat)
	f := following{report: report{group: 1, leader: "a", term: 5}, voters: []string{"a", "b", "c"}}
	d.hear(time.Second, "c", f.report)
	if d.decide(time.Second+3*beat, f) {
		t.Error("stood on a report that was not repeated")
	}
	d.hear(time.Second+3*beat, "a", f.report)
	d.hear(time.Second+3*beat, "x", f.report)
	if d.decide(time.Second+3*beat, f) {
		t.Error("stood on the word of the leader, or of one that does not vote")
	}
}

func TestPauseDoubles(t *testing.T) {
	b := newBallot("a", "b", "c")
	b.gone("a", 5, "b", "c")
	got := b.run(0, time.Minute, everywhere)
	// 0, then after 1, 2, 4, 8, 16 and 30 s
	if len(got) != 6 || got[5] != "c 31s" {
		t.Errorf("stood: %v", got)
	}
	b.says = map[string]following{}
	b.gone("b", 6, "a", "c")
	if got := b.run(3*time.Minute, 3*time.Minute+2*time.Second, everywhere); len(got) != 2 {
		t.Errorf("after a long peace, stood: %v", got)
	}
}

// Whoever can reach whom, and whatever was reported: nobody stands unless a
// majority reports the same.
func TestNeverWithoutAMajority(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		voters := []string{"a", "b", "c", "d", "e", "f", "g"}[:1+rnd.IntN(7)]
		b := newBallot(voters...)
		count := make(map[string]int)
		for _, v := range voters {
			leader, term := voters[rnd.IntN(len(voters))], uint64(1+rnd.IntN(2))
			if leader != v && rnd.IntN(4) > 0 {
				b.gone(leader, term, v)
				count[fmt.Sprint(leader, term)]++
			}
		}
		most := 0
		for _, n := range count {
			most = max(most, n)
		}
		cut := make(map[string]bool)
		for _, v := range voters {
			for _, w := range voters {
				cut[v+w] = rnd.IntN(3) == 0
			}
		}
		stood := b.run(time.Second, 3*time.Second, func(from, to string) bool { return !cut[from+to] })
		if len(stood) > 0 && most <= len(voters)/2 {
			t.Fatalf("seed %d: %v stood, of %d voters at most %d report the same", seed, stood, len(voters), most)
		}
	}
}
