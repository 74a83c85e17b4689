package raftstore

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Wildcard reads, page by page, against a naive matcher over random topics.
func TestRetainedReadsAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	levels := []string{"", "a", "b", "a!", "a b", "$x", "é", "~"}
	random := func(more ...string) string {
		var s []string
		for range 1 + rng.IntN(4) {
			s = append(s, append(levels, more...)[rng.IntN(len(levels)+len(more))])
		}
		return strings.Join(s, "/")
	}
	sh := newManual(DefaultOptions())
	var topics []string
	for range 300 {
		if to := random(); to != "" {
			sh.submit(Retain{Message: publish(to, "x", 1)}, nil)
			topics = append(topics, to)
		}
	}
	sh.settle()
	slices.SortFunc(topics, compareTopics)
	topics = slices.Compact(topics)
	for range 2000 {
		text := random("+", "+", "+")
		if rng.IntN(3) == 0 {
			text += "/#"
		}
		if text == "" {
			continue
		}
		f := filter(text)
		var want, got []string
		for _, to := range topics {
			if f.Matches(topic(to)) {
				want = append(want, to)
			}
		}
		page := 1 + rng.IntN(5)
		for q, more := (RetainedQuery{Filter: f, MaxMessages: page}), true; more; {
			p := sh.reading.Load().page(&q, sh.shard)
			for i := range p.Messages {
				got = append(got, p.Messages[i].Message.Topic.String())
			}
			q.Cursor, more = p.Cursor, p.More
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: pages of %d: %q, want %q", text, page, got, want)
		}
	}
}

func TestCompareTopics(t *testing.T) {
	for _, c := range [][2]string{{"a", "a/b"}, {"a/b", "a!"}, {"a/", "a/b"}, {"/", "a"}, {"a/b/c", "a/c"}} {
		if compareTopics(c[0], c[1]) >= 0 || compareTopics(c[1], c[0]) <= 0 || compareTopics(c[0], c[0]) != 0 {
			t.Errorf("%q is not before %q", c[0], c[1])
		}
	}
}
