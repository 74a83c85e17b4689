package acl

import (
	"strconv"
	"strings"

	"dunlin/router"
)

// Verdict is an answer of a Policy, and why, for people.
type Verdict struct {
	Allowed bool
	Rule    int    // the place of the rule that has decided, from 1 on; 0: none speaks of it
	Text    string // the rule, as a rule file may have it
}

// ExplainPublish is MayPublish with its reason.
func (r Rights) ExplainPublish(t router.Topic, qos uint8, retain bool) Verdict {
	return r.explain(Publish, t.String(), 1<<qos, flag(retain))
}

// ExplainSubscribe is MaySubscribe with its reason.
func (r Rights) ExplainSubscribe(f router.Filter, qos uint8) Verdict {
	return r.explain(Subscribe, f.Pattern(), 1<<qos, anyRetain)
}

func (r Rights) explain(a Action, filter string, qos, retain uint8) Verdict {
	allow, by := r.decide(a, filter, qos, retain)
	if by < 0 {
		return Verdict{Allowed: allow}
	}
	return Verdict{Allowed: allow, Rule: int(by) + 1, Text: r.policy.rules[by].String()}
}

// String is the rule as one line of YAML.
func (r *rule) String() string {
	var b strings.Builder
	if r.allow {
		b.WriteString("{allow: ")
	} else {
		b.WriteString("{deny: ")
	}
	for verb, a := range actions {
		if a == r.action {
			b.WriteString(verb)
		}
	}
	var topics []string
	for _, p := range r.patterns {
		topics = append(topics, p.String())
	}
	writeNames(&b, "users", r.users)
	writeNames(&b, "clients", r.clients)
	writeNames(&b, "groups", r.groups)
	writeNames(&b, "topics", topics)
	if r.qos != anyQoS {
		b.WriteString(", qos: [")
		for q, sep := 0, ""; q <= 2; q++ {
			if r.qos>>q&1 == 1 {
				b.WriteString(sep + strconv.Itoa(q))
				sep = ", "
			}
		}
		b.WriteString("]")
	}
	if r.retain != anyRetain {
		b.WriteString(", retain: " + strconv.FormatBool(r.retain == flag(true)))
	}
	return b.String() + "}"
}

// writeNames writes a list of YAML, if there is anything in it.
func writeNames(b *strings.Builder, key string, names []string) {
	if len(names) == 0 {
		return
	}
	b.WriteString(", " + key + ": [")
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(name))
	}
	b.WriteString("]")
}

// String is the pattern as a rule has it.
func (p pattern) String() string {
	levels := make([]string, len(p))
	for i, l := range p {
		switch {
		case l.wild != 0:
			levels[i] = string(l.wild)
		case l.what == noVariable:
			levels[i] = l.before
		default:
			levels[i] = l.before + placeholders[l.what] + l.behind
		}
	}
	return strings.Join(levels, "/")
}
