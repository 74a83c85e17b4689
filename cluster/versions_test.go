package cluster_test

import (
	"testing"
	"time"

	"dunlin/cluster"
)

// Nodes speak the highest version that both know. Those that have none in common say so, each
// of them once, and do not take each other for members that can be reached; a node in between
// speaks to both.
func TestVersionsOfReleases(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		var logs [3]told
		for i, v := range []cluster.FrameVersions{{Min: 1, Max: 1}, {Min: 2, Max: 3}, {Min: 1, Max: 2}} {
			l.make(i, logs[i].into, func(o *cluster.Options) { o.Frames = v }).begin()
		}
		time.Sleep(time.Minute)
		state := func(of, at int) string {
			for _, m := range l.nodes[at].Nodes() {
				if m.Name == l.nodes[of].opts.Name {
					return m.State
				}
			}
			return "no member"
		}
		for _, pair := range []struct {
			a, b int
			want string
		}{{0, 2, "alive"}, {1, 2, "alive"}, {0, 1, "joining"}} {
			if one, other := state(pair.a, pair.b), state(pair.b, pair.a); one != pair.want || other != pair.want {
				t.Errorf("%d and %d are %s and %s to each other, want %s", pair.a, pair.b, one, other, pair.want)
			}
		}
		for i, other := range []int{1, 0} {
			name := l.nodes[other].opts.Name
			if n := logs[i].lines("no version in common", "peer="+name+" ", "1 to 1", "2 to 3"); n != 1 {
				t.Errorf("%d told %d times that %s refused it: %s", i, n, name, logs[i].all.String())
			}
			if n := logs[i].lines("refused a stranger", "no common version", "id-"+name); n != 1 {
				t.Errorf("%d told %d times that it refused %s: %s", i, n, name, logs[i].all.String())
			}
		}
		if n := logs[2].lines("version"); n != 0 {
			t.Errorf("it has nothing to tell of: %s", logs[2].all.String())
		}
	})
}
