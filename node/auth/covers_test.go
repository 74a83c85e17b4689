package auth

import "testing"

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"#", "a/b", true},
		{"#", "#", true},
		{"a/#", "a", true},
		{"a/#", "a/+/c", true},
		{"a/#", "b", false},
		{"a/+", "a/b", true},
		{"a/+", "a/+", true},
		{"a/+", "a/#", false},
		{"a/+", "a", false},
		{"a", "a/b", false},
		{"a/b", "a/+", false},
		{"test/nosubscribe", "test/nosubscribe", true},
		{"test/nosubscribe", "#", false},
	} {
		if got := covers(c.wide, c.narrow); got != c.want {
			t.Errorf("covers(%q, %q) = %v, want %v", c.wide, c.narrow, got, c.want)
		}
	}
}
