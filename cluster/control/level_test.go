package control

import (
	"context"
	"errors"
	"testing"
	"time"

	"dunlin/raftstore/level"
)

// A level comes into force when the last node has come back as a release that can work at it,
// and not before: not while one is down, whatever it ran. From then on meta knows what each
// node runs.
func TestLevelRises(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		release := []level.Span{{Oldest: 1, Newest: 1}, {Oldest: 1, Newest: 1}, {Oldest: 1, Newest: 1}}
		l.shape = func(i int, o *Options) {
			if o.Levels, o.Release = release[i], "old"; release[i].Newest > 1 {
				o.Release = "new"
			}
		}
		still := func(what string) {
			t.Helper()
			time.Sleep(30 * time.Second)
			for _, n := range l.running() {
				if n.Level() != level.First {
					t.Fatalf("%s: %c is at level %d", what, 'a'+n.i, n.Level())
				}
			}
		}
		for i := range 3 {
			l.start(i)
		}
		l.works()
		still("three that cannot work at another")
		upgrade := func(i int) {
			if l.nodes[i] != nil {
				l.stop(i)
			}
			release[i] = level.Known()
			l.start(i).in()
		}
		upgrade(0)
		upgrade(1)
		still("two of three can")
		l.kill(2)
		still("the third is down")
		release[1] = level.Span{Oldest: 1, Newest: 1} // it goes back
		l.stop(1)
		l.start(1).in()
		upgrade(2)
		still("one has gone back")
		upgrade(1)
		l.until("the level in force everywhere", func() bool {
			for _, n := range l.running() {
				if !n.InForce(level.NodeRelease) {
					return false
				}
			}
			return true
		})
		l.works()

		// What enters now says what it is, also when it is down.
		l.stop(1)
		l.start(1).in()
		l.kill(1)
		for _, n := range l.nodes[0].Status(context.Background()).Nodes {
			if n.Release != "new" || n.Levels != level.Known() || n.Alive == (n.Name == "b") {
				t.Errorf("status: %+v", n)
			}
		}
	})
}

// A cluster that begins is at the newest level at once, and takes in no release that is too old,
// or so new that it knows nothing of what is in force.
func TestLevelOfNewCluster(t *testing.T) {
	inLab(t, 4, func(l *lab) {
		var last level.Span
		l.shape = func(i int, o *Options) {
			o.BootstrapExpect = 3
			if i == 3 {
				o.Levels, o.BootstrapExpect = last, 0
			}
		}
		for i := range 3 {
			l.start(i)
		}
		l.works()
		l.until("the newest level", func() bool { return l.nodes[0].Level() == level.Newest })
		for _, last = range []level.Span{{Oldest: 1, Newest: level.Newest - 1}, {Oldest: level.Newest + 1, Newest: level.Newest + 2}} {
			n := l.start(3)
			<-n.entered
			if refused := (*level.Error)(nil); !errors.As(n.err, &refused) || refused.Level != level.Newest || refused.Known != last {
				t.Errorf("%v: refused with %v", last, n.err)
			}
			if len(l.nodes[0].State().Nodes) != 3 {
				t.Errorf("%v is a node", last)
			}
			l.kill(3)
		}
		last = level.Span{Oldest: level.Newest, Newest: level.Newest + 2}
		l.start(3).in()
		l.works()
	})
}
