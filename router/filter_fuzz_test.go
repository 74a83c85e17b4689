package router

import (
	"errors"
	"strings"
	"testing"
)

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"a/b", "#", "+/+", "a#", "#/a", "a+/b", "", "$share/g", "$share//t", "$share/g+/t", "$share/g/", "$share/g/#", "$SYS/#", strings.Repeat("/", MaxLevels)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseFilter(b)
		group, pattern, ok := naiveParse(string(b))
		if ok != (err == nil) || err != nil && !errors.Is(err, ErrFilterInvalid) {
			t.Fatalf("ParseFilter(%q): error %v, want valid %v", b, err, ok)
		}
		if err != nil {
			return
		}
		exact := !strings.ContainsAny(pattern, "+#")
		if got.Group() != group || got.Pattern() != pattern || got.String() != string(b) || got.IsExact() != exact {
			t.Fatalf("ParseFilter(%q) = group %q, pattern %q, exact %v", b, got.Group(), got.Pattern(), got.IsExact())
		}
	})
}

// naiveParse is the specification's words on a list of levels.
func naiveParse(s string) (group, pattern string, ok bool) {
	if len(s) > MaxBytes {
		return "", "", false
	}
	levels := strings.Split(s, "/")
	if levels[0] == "$share" && len(levels) > 1 {
		if group = levels[1]; group == "" || strings.ContainsAny(group, "+#") || len(levels) < 3 {
			return "", "", false
		}
		levels = levels[2:]
	}
	if len(levels) > MaxLevels || len(levels) == 1 && levels[0] == "" {
		return "", "", false
	}
	for i, level := range levels {
		if level == "+" || level == "#" && i == len(levels)-1 {
			continue
		}
		if strings.ContainsAny(level, "+#") {
			return "", "", false
		}
	}
	return group, strings.Join(levels, "/"), true
}

func FuzzParseTopic(f *testing.F) {
	for _, s := range []string{"a/b", "/", "", "a/+", "#", "$SYS/x", strings.Repeat("/", MaxLevels)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseTopic(b)
		ok := len(b) > 0 && len(b) <= MaxBytes && !strings.ContainsAny(string(b), "+#") && strings.Count(string(b), "/") < MaxLevels
		if ok != (err == nil) || err != nil && !errors.Is(err, ErrTopicInvalid) {
			t.Fatalf("ParseTopic(%q): error %v, want valid %v", b, err, ok)
		}
		if err == nil && (got.String() != string(b) || got.Clone() != got || got.Clone().Hash() != got.Hash()) {
			t.Fatalf("ParseTopic(%q) = %q", b, got)
		}
	})
}

// FuzzMatch compares Filter.Matches and a table of the filters with the naive
// matcher. Filters are separated by line ends.
func FuzzMatch(f *testing.F) {
	f.Add("a/b", "a/b")
	f.Add("a/#\na/+\n+/b\n#\na/b/#", "a/b")
	f.Add("+/+\n/+\n//\n/#", "/")
	f.Add("a/b/c/+\na/b/+\na/b/c/#", "a/b/c")
	f.Add("$SYS/#\n+/x\n#", "$SYS/x")
	f.Add("$share/g/a/#\n$share/h/a/#\na", "a")
	f.Fuzz(func(t *testing.T, filters, topic string) {
		tp, err := ParseTopic([]byte(topic))
		if err != nil {
			return
		}
		tb, want := NewTable(), 0
		var parsed []Filter
		for i, s := range strings.Split(filters, "\n") {
			f, err := ParseFilter([]byte(s))
			if err != nil {
				continue
			}
			match := naiveMatches(f.Pattern(), topic)
			if f.Matches(tp) != match {
				t.Fatalf("%q matches %q: want %v", f, tp, match)
			}
			parsed = append(parsed, f)
			if existed, _ := tb.Subscribe(f, Subscriber(len(parsed)), Options{}); existed {
				t.Fatalf("%q existed for subscriber %d", f, i)
			}
			if match && f.Group() == "" {
				want++
			}
		}
		tb.mustCheck(t)
		var ms Matches
		if tb.Match(tp, 0, &ms); len(ms.Local) != want {
			t.Fatalf("%d subscribers of %q, want %d", len(ms.Local), tp, want)
		}
		for i, f := range parsed {
			if existed, _ := tb.Unsubscribe(f, Subscriber(i+1)); !existed {
				t.Fatalf("%q did not exist", f)
			}
		}
		tb.mustCheck(t)
		if tb.Stats().Exact+tb.Stats().Wildcards+tb.Stats().Groups != 0 {
			t.Fatalf("an empty table has %+v", tb.Stats())
		}
	})
}
