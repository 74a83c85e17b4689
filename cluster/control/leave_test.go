package control

import (
	"fmt"
	"testing"

	"dunlin/raftstore/meta"
)

// E4: a node that is to leave, and holds nothing any more, is revoked, gives its
// lease up if it is there, and is retired after.
func TestLeavingGivesTheLeaseUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		node    meta.Node
		met     bool
		clients int
		want    string
	}{
		{"stays", meta.Node{Admitted: true}, true, 0, "[]"},
		{"asks its clients to go", meta.Node{Leaving: true, Admitted: true}, true, 1, "[]"},
		{"holds a lease", meta.Node{Leaving: true, Admitted: true}, true, 0, "[*meta.Revoke]"},
		{"has clients yet", meta.Node{Leaving: true, Admitted: true, Revoked: true}, true, 1, "[]"},
		{"has given it up", meta.Node{Leaving: true, Admitted: true, Revoked: true, Released: true}, true, 0, "[*meta.Retire]"},
		{"is gone", meta.Node{Leaving: true, Admitted: true, Revoked: true}, false, 0, "[*meta.Retire]"},
		{"never had one", meta.Node{Leaving: true}, true, 0, "[*meta.Retire]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.node.Identity, c.node.Start, c.node.Generation = "b", 1, 1
			o := outlook{
				state: &meta.State{Numbered: 2, Nodes: map[uint32]meta.Node{
					1: {Identity: "a", Start: 1, Generation: 1, Admitted: true}, 2: c.node,
				}},
				met: map[string]bool{"a": true, "b": c.met},
				reports: map[string]report{
					"a": {Groups: map[uint16]groupReport{MetaGroup: {Leads: true, Term: 1, Servers: []server{{Node: "a", Voter: true}}}}},
					"b": {Clients: c.clients},
				},
			}
			var kinds []string
			for _, cmd := range o.commands() {
				kinds = append(kinds, fmt.Sprintf("%T", cmd))
			}
			if got := fmt.Sprint(kinds); got != c.want {
				t.Errorf("%s", got)
			}
		})
	}
}
