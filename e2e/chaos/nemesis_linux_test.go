package chaos

import (
	"slices"
	"testing"
)

func TestServing(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		cut   [][2]int
		want  []int
	}{
		{"nothing", 3, nil, []int{1, 2, 3}},
		{"one alone", 3, both([]int{2}, []int{1, 3}), []int{1, 3}},
		{"a pair", 3, both([]int{1}, []int{2}), []int{3}}, // one of the two has to go
		{"one way", 3, [][2]int{{1, 2}}, []int{3}},
		{"mute", 3, [][2]int{{1, 2}, {1, 3}}, []int{2, 3}},
		{"all", 3, both([]int{1, 2, 3}, []int{1, 2, 3}), nil},
		{"halves of four", 4, both([]int{1, 2}, []int{3, 4}), nil},
		{"clients away from one", 3, [][2]int{{0, 2}, {2, 0}}, []int{1, 3}},
	} {
		if got := serving(c.nodes, c.cut); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v have to serve, want %v", c.name, got, c.want)
		}
	}
}
