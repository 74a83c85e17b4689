package acl

import (
	"strings"
	"testing"
)

func read(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An explanation names the rule that has decided, in words that are read as the same rule.
func TestExplain(t *testing.T) {
	p := read(t, `
rules:
  - {deny: all, users: [guest], topics: ["safe/#"]}
  - {allow: publish, topics: ["of/${clientid}/up", "x-${username}/+"], qos: [0, 2], retain: false}
  - {allow: subscribe, users: ["*"], clients: [c, "d\"e"], topics: ["#"]}
  - {allow: publish, groups: [ops, "a b"], topics: ["#"]}
`)
	for _, c := range []struct {
		client, user, topic string
		publish             bool
		qos                 uint8
		want                Verdict
	}{
		{"c", "guest", "safe/x", false, 0, Verdict{false, 1, `{deny: all, users: ["guest"], topics: ["safe/#"]}`}},
		{"c", "guest", "#", false, 0, Verdict{false, 1, `{deny: all, users: ["guest"], topics: ["safe/#"]}`}},
		{"c", "", "of/c/up", true, 2, Verdict{true, 2, `{allow: publish, topics: ["of/${clientid}/up", "x-${username}/+"], qos: [0, 2], retain: false}`}},
		{"c", "", "of/c/up", true, 1, Verdict{}},
		{"c", "ann", "#", false, 1, Verdict{true, 3, `{allow: subscribe, users: ["*"], clients: ["c", "d\"e"], topics: ["#"]}`}},
		{"other", "ann", "#", false, 1, Verdict{}},
		{"member", "ann", "x", true, 1, Verdict{true, 4, `{allow: publish, groups: ["ops", "a b"], topics: ["#"]}`}},
	} {
		s := NewSubject(c.client, c.user, "")
		if c.client == "member" {
			s = NewSubject(c.client, c.user, "", "ops")
		}
		ask := func(p *Policy) Verdict {
			if c.publish {
				return p.For(&s).ExplainPublish(topic(t, c.topic), c.qos, false)
			}
			return p.For(&s).ExplainSubscribe(filter(t, c.topic), c.qos)
		}
		got := ask(p)
		if got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
		if got.Rule == 0 {
			continue
		}
		if again := ask(read(t, "rules: ["+got.Text+"]")); again.Allowed != got.Allowed || again.Rule != 1 || again.Text != got.Text {
			t.Errorf("%s: read again: %+v", got.Text, again)
		}
	}
}

// Of two lists of rules the second is asked where the first says nothing, and nothing is
// allowed by default unless both say so.
func TestThen(t *testing.T) {
	const open = "otherwise: allow\n"
	first := "rules: [{deny: publish, users: [bob], topics: [a]}, {allow: all, topics: [b]}]"
	second := "rules: [{allow: publish, users: [bob], topics: [a, c]}, {deny: all, topics: [b]}, {allow: publish, clients: [x], topics: [d]}]"
	both := read(t, first).Then(read(t, second))
	for _, c := range []struct {
		client, topic string
		rule          int
		may           bool
	}{
		{"c", "a", 1, false}, {"c", "b", 2, true}, {"c", "c", 3, true}, {"c", "d", 0, false}, {"x", "d", 5, true},
	} {
		s := NewSubject(c.client, "bob", "")
		if v := both.For(&s).ExplainPublish(topic(t, c.topic), 0, false); v.Allowed != c.may || v.Rule != c.rule {
			t.Errorf("%+v: %+v", c, v)
		}
	}
	if both.Len() != 5 {
		t.Errorf("%d rules", both.Len())
	}
	for _, c := range []struct {
		first, second string
		may           bool
	}{{open, open, true}, {open, "", false}, {"", open, false}, {"", "", false}} {
		s := NewSubject("c", "ann", "")
		if got := read(t, c.first+first).Then(read(t, c.second+second)).For(&s).MayPublish(topic(t, "other"), 0, false); got != c.may {
			t.Errorf("first %q, second %q: %v", c.first, c.second, got)
		}
	}
}
