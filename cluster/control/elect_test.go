package control

import "testing"

// TestMostOf: the end of the log decides, its term first, or what was acknowledged
// might be overwritten; then the group, so that leaders spread.
func TestMostOf(t *testing.T) {
	for _, c := range []struct {
		name  string
		group uint16
		all   []orphan
		want  string
	}{
		{"somebody is missing", 0, nil, ""},
		{"the longest", 1, []orphan{{"a", 3, 10}, {"b", 3, 12}, {"c", 3, 11}}, "b"},
		{"the latest term before the longest", 1, []orphan{{"a", 3, 100}, {"b", 4, 2}, {"c", 3, 100}}, "b"},
		{"equal ones by the group", 1, []orphan{{"c", 3, 10}, {"a", 3, 10}, {"b", 3, 10}}, "b"},
		{"equal ones but not the one behind", 3, []orphan{{"c", 3, 10}, {"a", 2, 10}, {"b", 3, 10}}, "c"},
	} {
		if got := mostOf(c.group, c.all); got != c.want {
			t.Errorf("%s: %q instead of %q", c.name, got, c.want)
		}
	}
}
