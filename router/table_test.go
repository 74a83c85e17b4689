package router

import "testing"

func TestMatch(t *testing.T) {
	tb := NewTable()
	tb.Subscribe(mustFilter(t, "a/+"), 1, Options{QoS: 1, ID: 7})
	tb.Subscribe(mustFilter(t, "a/b"), 1, Options{QoS: 2, ID: 8})
	tb.Subscribe(mustFilter(t, "#"), 2, Options{NoLocal: true})
	tb.Subscribe(mustFilter(t, "$share/g/a/#"), 3, Options{})
	var ms Matches
	tb.Match(mustTopic(t, "a/b"), 2, &ms)
	if len(ms.Local) != 1 || ms.Local[0].QoS != 2 || len(ms.IDs(ms.Local[0])) != 2 || len(ms.Groups) != 1 {
		t.Errorf("matches %+v", ms)
	}
}
