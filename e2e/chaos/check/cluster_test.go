package check

import (
	"slices"
	"testing"
	"time"

	"dunlin/e2e/chaos/history"
)

func TestEpochs(t *testing.T) {
	claims := []Claim{
		{"c", "n1", 1, 1, 1}, {"c", "n1", 2, 4, 2}, {"d", "n1", 3, 3, 1}, {"c", "n1", 4, 4, 2},
		{"c", "n2", 3, 3, 1}, // behind n1, or before it in its page
	}
	if err := verdict(Epochs(claims), ""); err != nil {
		t.Error(err)
	}
	if err := verdict(Epochs(append(claims, Claim{"c", "n3", 5, 6, 1})), "owner: epoch"); err != nil {
		t.Error(err)
	}
}

func TestReplicas(t *testing.T) {
	states := []State{{"n1", 0, 7, 1}, {"n2", 0, 7, 1}, {"n1", 0, 8, 2}, {"n2", 1, 8, 3}}
	logs := []Entry{{"n1", 0, 1, 1, 1}, {"n1", 0, 2, 1, 2}, {"n2", 0, 2, 1, 2}, {"n2", 0, 3, 1, 3}}
	if err := verdict(Replicas(states, logs), ""); err != nil {
		t.Error(err)
	}
	for rule, change := range map[string]func(*[]State, *[]Entry){
		"replicas: state": func(s *[]State, _ *[]Entry) { (*s)[1].Hash = 9 }, // Apply read a clock
		"replicas: log":   func(_ *[]State, e *[]Entry) { (*e)[2].Term = 2 }, // two leaders committed
		"replicas: hole":  func(_ *[]State, e *[]Entry) { (*e)[1].Index = 5 },
	} {
		s, e := slices.Clone(states), slices.Clone(logs)
		change(&s, &e)
		if err := verdict(Replicas(s, e), rule); err != nil {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

func TestResidue(t *testing.T) {
	base := Sample{Node: "n1", Goroutines: 50, Files: 30, Heap: 20 << 20, Disk: 1 << 20}
	if err := verdict(Residue(base, base, DefaultSlack()), ""); err != nil {
		t.Error(err)
	}
	for name, leak := range map[string]func(*Sample){
		"goroutines": func(s *Sample) { s.Goroutines += 1000 },
		"files":      func(s *Sample) { s.Files += 1000 },
		"heap":       func(s *Sample) { s.Heap += 1 << 30 },
		"disk":       func(s *Sample) { s.Disk += 1 << 30 },
	} {
		held := base
		leak(&held)
		if err := verdict(Residue(base, held, DefaultSlack()), "residue"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOthers(t *testing.T) {
	quick := slices.Repeat([]time.Duration{time.Millisecond}, 200)
	if err := verdict(Others(quick, 10*time.Millisecond), ""); err != nil {
		t.Error(err)
	}
	stalled := append(slices.Clone(quick), slices.Repeat([]time.Duration{time.Second}, 5)...)
	if err := verdict(Others(stalled, 10*time.Millisecond), "residue: others"); err != nil {
		t.Error(err)
	}
	if err := verdict(Others(nil, time.Second), "residue: others"); err != nil {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	const second = time.Second
	// A probe of n1 publishes every second; from stop to start nothing is answered.
	probe := func(stop, start time.Duration) *history.History {
		s := newStory()
		s.connect("probe", false, 0)
		for s.now < 60*second {
			e := s.publish("probe", "t", 1)
			if e.Invoke >= stop && e.Invoke < start {
				unknown(e)
			}
			s.wait(second)
		}
		return s.history()
	}
	heals := []time.Duration{30 * second}
	majority := []Window{{From: 10 * second, To: 25 * second, Nodes: []string{"n1", "n2"}, Bound: 5 * second}}
	minority := []Window{{From: 10 * second, To: 25 * second, Nodes: []string{"n2", "n3"}, Bound: 5 * second}}
	// A probe of n1 whose messages on one topic, held by one shard, have no answer.
	oneShard := func() *history.History {
		h := probe(0, 0)
		for i := range h.Events {
			if e := &h.Events[i]; e.Op == history.Publish && i%2 == 0 {
				e.Topic = "u"
				if e.Invoke > 28*second {
					unknown(e)
				}
			}
		}
		return h
	}
	short := []Window{{From: 10 * second, To: 14 * second, Nodes: []string{"n1"}, Bound: 5 * second}}
	for _, c := range []struct {
		name    string
		h       *history.History
		windows []Window
		rule    string
	}{
		{"always", probe(0, 0), majority, ""},
		{"a shard that is dead after healing", oneShard(), majority, "progress: heal"},
		{"less than the bound", probe(10*second, 14*second), short, ""},
		{"not in a minority", probe(10*second, 31*second), minority, ""},
		{"a majority that stands still", probe(10*second, 31*second), majority, "progress: majority"},
		{"dead after healing", probe(28*second, 50*second), majority, "progress: heal"},
		{"dead for ever", probe(28*second, 100*second), nil, "progress: heal"},
	} {
		if err := verdict(Progress(c.h, []string{"probe"}, heals, c.windows, 5*second), c.rule); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/b/c", false},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"#", "a", true}, {"#", "$SYS/a", false}, {"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/a", true}, {"+", "/a", false}, {"/+", "/a", true}, {"a", "a/", false}, {"a/+", "a/", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.topic, got)
		}
	}
}
