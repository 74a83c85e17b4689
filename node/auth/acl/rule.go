package acl

import (
	"errors"
	"fmt"
	"slices"
)

// Rule is one line of a Policy as people write it, in YAML or JSON. Exactly one of
// Allow and Deny is given. What is left out does not restrict: a rule without
// users, clients and groups speaks of everybody.
type Rule struct {
	Allow  string   `yaml:"allow,omitempty" json:"allow,omitempty"` // publish, subscribe, or all
	Deny   string   `yaml:"deny,omitempty" json:"deny,omitempty"`
	Topics []string `yaml:"topics" json:"topics"` // filters, with placeholders

	// Of whom: one of the users (* is any client that has a user name), one of the
	// client identifiers, or who is in one of the groups. Of those given all must hold.
	Users   []string `yaml:"users,omitempty" json:"users,omitempty"`
	Clients []string `yaml:"clients,omitempty" json:"clients,omitempty"`
	Groups  []string `yaml:"groups,omitempty" json:"groups,omitempty"`

	QoS    []int `yaml:"qos,omitempty" json:"qos,omitempty"`       // of the message, or asked for
	Retain *bool `yaml:"retain,omitempty" json:"retain,omitempty"` // of a message that is published
}

// Action is what a client wants to do. To receive is to go on subscribing.
type Action uint8

// A rule speaks of one or both.
const (
	Publish Action = 1 << iota
	Subscribe

	both = Publish | Subscribe
)

var actions = map[string]Action{"publish": Publish, "subscribe": Subscribe, "all": both}

// rule is a Rule made ready.
type rule struct {
	allow    bool
	action   Action
	qos      uint8 // a bit for each
	retain   uint8 // a bit for each of false and true
	patterns []pattern
	users    []string // "*" alone: any that has a name
	clients  []string
	groups   []string
	both     bool // users and clients are given
}

const (
	anyQoS    = 0b111
	anyRetain = 0b11
)

// maxRuleTopics bounds the filters of one rule.
const maxRuleTopics = 1000

// prepare checks a rule. An error names the key, the value and what is allowed.
func (r Rule) prepare() (rule, error) {
	p := rule{allow: r.Allow != "", qos: anyQoS, retain: anyRetain, clients: r.Clients, users: r.Users, groups: r.Groups}
	p.both = len(r.Users) > 0 && len(r.Clients) > 0
	if (r.Allow != "") == (r.Deny != "") {
		return p, errors.New("want one of allow and deny")
	}
	key, verb := "allow", r.Allow
	if r.Deny != "" {
		key, verb = "deny", r.Deny
	}
	var known bool
	if p.action, known = actions[verb]; !known {
		return p, fmt.Errorf("%s: %q is not allowed: want publish, subscribe, or all", key, verb)
	}
	if len(r.Topics) == 0 || len(r.Topics) > maxRuleTopics {
		return p, fmt.Errorf("topics: %d of them, want 1 to %d (%q for all)", len(r.Topics), maxRuleTopics, "#")
	}
	for _, text := range r.Topics {
		pat, err := parsePattern(text)
		if err != nil {
			return p, fmt.Errorf("topics: %q is not allowed: %w", text, err)
		}
		p.patterns = append(p.patterns, pat)
	}
	if slices.Contains(r.Users, "") || slices.Contains(r.Clients, "") || slices.Contains(r.Groups, "") {
		return p, errors.New(`users, clients, groups: "" is not allowed: want a name`)
	}
	if slices.Contains(r.Users, anyUser) && len(r.Users) > 1 {
		return p, fmt.Errorf("users: %q stands for all that have a name, leave the others out", anyUser)
	}
	if len(r.QoS) > 0 {
		p.qos = 0
		for _, q := range r.QoS {
			if q < 0 || q > 2 {
				return p, fmt.Errorf("qos: %d is not allowed: want 0, 1, 2", q)
			}
			p.qos |= 1 << q
		}
	}
	if r.Retain != nil {
		if p.action != Publish {
			return p, fmt.Errorf("retain: a rule of %s says nothing of retain, write one for publish", verb)
		}
		p.retain = flag(*r.Retain)
	}
	return p, nil
}

const anyUser = "*"

func flag(b bool) uint8 {
	if b {
		return 2
	}
	return 1
}

// relate is the closest that one of the rule's patterns comes to a filter.
func (r *rule) relate(filter string, s *Subject) relation {
	nearest := apart
	for _, p := range r.patterns {
		if r.allow && !p.speaksOf(s) {
			continue
		}
		if nearest = max(nearest, p.relate(filter, s)); nearest == within {
			break
		}
	}
	return nearest
}
