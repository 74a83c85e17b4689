package load

import (
	"slices"
	"testing"
)

// TestShares: every client is in one process, pairs are together, and so is a share
// group.
func TestShares(t *testing.T) {
	for _, v := range Verbs {
		for _, n := range []int{1, 2, 3, 7} {
			c := Config{Verb: v, Publishers: 100, Subscribers: 100}
			shares := c.shares(n)
			pubs, subs := make([]int, 100), make([]int, 100)
			for _, s := range shares {
				for i := s.Pubs.From; i < s.Pubs.To; i++ {
					pubs[i]++
				}
				for i := s.Subs.From; i < s.Subs.To; i++ {
					subs[i]++
				}
				if v == P2P && s.Pubs != s.Subs {
					t.Errorf("%s of %d: %+v", v, n, s)
				}
			}
			if v == ShareSub && shares[0].Subs.len() != 100 {
				t.Errorf("%s of %d: %+v", v, n, shares)
			}
			once := func(i int) bool { return i != 1 }
			if slices.ContainsFunc(pubs, once) || slices.ContainsFunc(subs, once) {
				t.Errorf("%s of %d: %+v", v, n, shares)
			}
		}
	}
}

func TestLayout(t *testing.T) {
	million := Config{Verb: Conn, Subscribers: 1_000_000, Brokers: []string{"127.0.0.1:1883", "127.3.0.1:1883"}}
	l, err := million.Layout(20_000)
	if err != nil || l.Processes != 51 || l.Files > 20_000 || l.Sources != 77 || l.PerSource > PerSource {
		t.Errorf("%+v, %v", l, err)
	}
	if s := loopbackSources(300); len(s) != 300 || s[0] != "127.0.1.1" || s[299] != "127.0.2.46" {
		t.Errorf("%q", s)
	}
	elsewhere := million
	elsewhere.Brokers = []string{"192.0.2.1:1883"}
	if l, err := elsewhere.Layout(20_000); err != nil || l.Sources != 0 || l.PerSource != 1_000_000 {
		t.Errorf("%+v, %v", l, err)
	}
	few := million
	few.Processes = 10
	if _, err := few.Layout(20_000); err == nil {
		t.Error("a million connections in ten processes of 20,000 files")
	}
	group := Config{Verb: ShareSub, Publishers: 10, Subscribers: 30_000}
	if _, err := group.Layout(20_000); err == nil {
		t.Error("a share group of 30,000 in a process of 20,000 files")
	}
}

func TestParseSources(t *testing.T) {
	for s, want := range map[string][]string{
		"127.0.1.1":                  {"127.0.1.1"},
		"127.0.1.254-127.0.2.1, ::1": {"127.0.1.254", "127.0.1.255", "127.0.2.0", "127.0.2.1", "::1"},
		"":                           nil,
		"lo":                         nil,
		"127.0.1.2-127.0.1.1":        nil,
		"127.0.0.1-::1":              nil,
		"10.0.0.0-11.0.0.0":          nil,
	} {
		got, err := ParseSources(s)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

// TestQuotas: what streams send adds up to the limit.
func TestQuotas(t *testing.T) {
	c := Config{Verb: P2P, Publishers: 7, Subscribers: 7, Limit: 1000}
	var sum uint64
	for i := range 7 {
		sum += c.quota(i)
	}
	if sum != 1000 {
		t.Errorf("%d", sum)
	}
}

// TestFailuresAreBounded: more kinds than are kept are counted together.
func TestFailuresAreBounded(t *testing.T) {
	var a, b failures
	for i := range 100 {
		a.add("connect", string(rune('a'+i)), func() string { return "somebody" })
		b.add("connect", "a", func() string { return "somebody" })
	}
	b.merge(a.list())
	var sum uint64
	for _, f := range b.list() {
		sum += f.Count
	}
	if l := b.list(); len(l) > MaxFailures || sum != 200 || b.total != 200 || l[0].Count != 101 {
		t.Errorf("%d kinds, %d in all, %+v", len(l), sum, l[0])
	}
}

func TestWildcard(t *testing.T) {
	for in, want := range map[string]string{"a/%i": "a/+", "a": "a", "a/x%c/b": "a/+/b"} {
		if got := wildcard(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
