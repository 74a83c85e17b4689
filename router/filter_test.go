package router

import (
	"errors"
	"strings"
	"testing"
)

func mustFilter(t testing.TB, s string) Filter {
	t.Helper()
	f, err := ParseFilter([]byte(s))
	if err != nil {
		t.Fatalf("ParseFilter(%q): %v", s, err)
	}
	return f
}

func mustTopic(t testing.TB, s string) Topic {
	t.Helper()
	tp, err := ParseTopic([]byte(s))
	if err != nil {
		t.Fatalf("ParseTopic(%q): %v", s, err)
	}
	return tp
}

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		in, group, pattern string
		exact              bool
		err                error
	}{
		{in: "a/b", pattern: "a/b", exact: true},
		{in: "/", pattern: "/", exact: true},
		{in: "#", pattern: "#"},
		{in: "+", pattern: "+"},
		{in: "/+/#", pattern: "/+/#"},
		{in: "$SYS/#", pattern: "$SYS/#"},
		{in: "$share", pattern: "$share", exact: true},
		{in: "$shared/g/t", pattern: "$shared/g/t", exact: true},
		{in: "$share/g/t", group: "g", pattern: "t", exact: true},
		{in: "$share/g//", group: "g", pattern: "/", exact: true},
		{in: "$share/g/#", group: "g", pattern: "#"},
		{in: "$share/$share/$share/g/+", group: "$share", pattern: "$share/g/+"},
		{in: strings.Repeat("/", MaxLevels-1), pattern: strings.Repeat("/", MaxLevels-1), exact: true},
		{in: "$share/g/" + strings.Repeat("+/", MaxLevels-1) + "+", group: "g", pattern: strings.Repeat("+/", MaxLevels-1) + "+"},
		// case 13
		{in: "", err: ErrFilterInvalid},
		{in: "a#", err: ErrFilterInvalid},
		{in: "#/a", err: ErrFilterInvalid},
		{in: "a+/b", err: ErrFilterInvalid},
		{in: "+a", err: ErrFilterInvalid},
		{in: "a/#/", err: ErrFilterInvalid},
		{in: "##", err: ErrFilterInvalid},
		{in: "++", err: ErrFilterInvalid},
		{in: "+#", err: ErrFilterInvalid},
		// case 14
		{in: "$share/", err: ErrShareInvalid},
		{in: "$share/g", err: ErrShareInvalid},
		{in: "$share/g/", err: ErrShareInvalid},
		{in: "$share//t", err: ErrShareInvalid},
		{in: "$share//", err: ErrShareInvalid},
		{in: "$share/g+/t", err: ErrShareInvalid},
		{in: "$share/#/t", err: ErrShareInvalid},
		{in: "$share/g/a#", err: ErrFilterInvalid},
		// case 15
		{in: strings.Repeat("/", MaxLevels), err: ErrFilterTooDeep},
		{in: strings.Repeat("/", 65535), err: ErrFilterTooDeep},
		{in: "$share/g/" + strings.Repeat("/", MaxLevels), err: ErrFilterTooDeep},
	} {
		f, err := ParseFilter([]byte(c.in))
		if c.err != nil {
			if !errors.Is(err, c.err) || !errors.Is(err, ErrFilterInvalid) {
				t.Errorf("ParseFilter(%.40q): error %v, want %v", c.in, err, c.err)
			}
			continue
		}
		if err != nil || f.Group() != c.group || f.Pattern() != c.pattern || f.IsExact() != c.exact || f.String() != c.in {
			t.Errorf("ParseFilter(%.40q) = group %q, pattern %q, exact %v, error %v", c.in, f.Group(), f.Pattern(), f.IsExact(), err)
		}
	}
}

func TestFilterMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/b/", false},
		{"a/#", "a", true},
		{"a/#", "a/", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"a/+", "a", false},
		{"a/+", "a/", true},
		{"a/+", "a/b/c", false},
		{"+", "a", true},
		{"+", "/", false},
		{"+/+", "/", true},
		{"/+", "/", true},
		{"+/+", "/a", true},
		{"+/b/#", "a/b", true},
		{"a/+/#", "a", false},
		{"#", "a/b", true},
		{"#", "/", true},
		{"#", "$SYS", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/+", "$SYS/x", true},
		{"+/$x", "a/$x", true},
		{"a/#", "a/$x", true},
		{"$share/g/#", "$SYS/x", false},
		{"$share/g/a/+", "a/b", true},
	} {
		if got := mustFilter(t, c.filter).Matches(mustTopic(t, c.topic)); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.filter, c.topic, got, c.want)
		}
	}
}
