package node

import (
	"testing"

	"dunlin/cluster/control"
)

// A node that stops tries for long to release its lease only where a majority can take that.
func TestMostReached(t *testing.T) {
	members := []control.Member{{Identity: "b", Reachable: true}, {Identity: "c"}, {Identity: "d", Reachable: true}}
	for _, tt := range []struct {
		name   string
		voters []string
		want   bool
	}{
		{"alone", []string{"a"}, true},
		{"before there are any", nil, false},
		{"one of two others", []string{"a", "b", "c"}, true},
		{"none of two others", []string{"a", "c", "e"}, false},
		{"this one does not vote", []string{"b", "c", "d"}, true},
		{"this one does not vote, and most are away", []string{"b", "c", "e"}, false},
		{"half of them", []string{"a", "b", "c", "e"}, false},
	} {
		if got := mostReached(tt.voters, "a", members); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
