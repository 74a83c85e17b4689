package node

import (
	"testing"

	"dunlin/raftstore/meta"
)

// A lease that is revoked is told once (E4); not that of who has given it up, or had none.
func TestRevokedSince(t *testing.T) {
	state := func(x meta.Node) *meta.State {
		return &meta.State{Nodes: map[uint32]meta.Node{1: {Identity: "other", Generation: 1, Admitted: true, Revoked: true}, 2: x}}
	}
	node := func(generation uint64, admitted, revoked, released bool) meta.Node {
		return meta.Node{Identity: "x", Generation: generation, Admitted: admitted, Revoked: revoked, Released: released}
	}
	held := node(7, true, false, false)
	for name, c := range map[string]struct {
		before, now meta.Node
		want        int
	}{
		"held still":                   {held, held, 0},
		"revoked":                      {held, node(7, true, true, false), 1},
		"revoked before":               {node(7, true, true, false), node(7, true, true, false), 0},
		"released":                     {held, node(7, true, true, true), 0},
		"never admitted":               {node(7, false, false, false), node(7, false, true, false), 0},
		"again, in another generation": {node(7, true, true, false), node(8, true, true, false), 1},
		"joined anew":                  {node(7, true, true, false), node(8, true, false, false), 0},
	} {
		got := revokedSince(state(c.before), state(c.now))
		if len(got) != c.want || c.want > 0 && got[0].Identity != "x" {
			t.Errorf("%s: %v", name, got)
		}
	}
}
