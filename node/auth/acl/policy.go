package acl

import (
	"fmt"
	"slices"

	"dunlin/node/auth"
	"dunlin/router"
)

// maxRules bounds a Policy.
const maxRules = 100_000

// Policy is a list of rules, ready to be asked. The zero value allows nothing.
type Policy struct {
	rules []rule
	allow bool // what no rule speaks of

	// The rules by whom they speak of, each list in order.
	general  []int32            // everybody
	anyUser  []int32            // who has a user name
	byUser   map[string][]int32 // users by name, perhaps only with some client identifiers, or in some groups
	byClient map[string][]int32 // client identifiers, whoever the user, perhaps only in some groups
	grouped  []int32            // who is in some groups
}

// NewPolicy checks the rules. What none of them speaks of is allowed if otherwise
// says so.
func NewPolicy(rules []Rule, otherwise bool) (*Policy, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("%d rules, want at most %d", len(rules), maxRules)
	}
	p := &Policy{allow: otherwise}
	for i, r := range rules {
		ready, err := r.prepare()
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		p.rules = append(p.rules, ready)
		p.index(int32(i))
	}
	return p, nil
}

// Then is a Policy of p's rules and, where none of them speaks of what is asked, another's. What neither speaks of is allowed if both say so.
func (p *Policy) Then(next *Policy) *Policy {
	both := &Policy{rules: slices.Concat(p.rules, next.rules), allow: p.allow && next.allow}
	for i := range both.rules {
		both.index(int32(i))
	}
	return both
}

func (p *Policy) index(i int32) {
	switch r := &p.rules[i]; {
	case len(r.users) > 0 && r.users[0] == anyUser:
		p.anyUser = append(p.anyUser, i)
	case len(r.users) > 0:
		addTo(&p.byUser, r.users, i)
	case len(r.clients) > 0:
		addTo(&p.byClient, r.clients, i)
	case len(r.groups) > 0:
		p.grouped = append(p.grouped, i)
	default:
		p.general = append(p.general, i)
	}
}

// addTo appends i to the lists of those named, which are in order: once, though a rule
// may name somebody twice.
func addTo(lists *map[string][]int32, names []string, i int32) {
	if *lists == nil {
		*lists = make(map[string][]int32)
	}
	for _, name := range names {
		list := (*lists)[name]
		if n := len(list); n == 0 || list[n-1] != i {
			(*lists)[name] = append(list, i)
		}
	}
}

// lists is how many lists of a Policy's rules may speak of one client.
const lists = 5

// Rights are what a Policy says of one client. The zero value allows nothing.
type Rights struct {
	policy  *Policy
	subject *Subject
	rules   [lists][]int32 // that may speak of the subject; each list in order, together every rule once
}

// For finds the rights of s, which is kept.
func (p *Policy) For(s *Subject) Rights {
	r := Rights{policy: p, subject: s}
	r.rules[0] = p.general
	if user := s.names[userName]; user != "" {
		r.rules[1], r.rules[2] = p.anyUser, p.byUser[user]
	}
	if len(p.byClient) > 0 {
		r.rules[3] = p.byClient[s.names[clientID]]
	}
	if len(s.groups) > 0 {
		r.rules[4] = p.grouped
	}
	return r
}

// Len is the number of rules.
func (p *Policy) Len() int { return len(p.rules) }

// Unrestricted says that all is allowed to everybody, so that nobody need ask.
func (p *Policy) Unrestricted() bool { return p.allow && len(p.rules) == 0 }

// MayPublish says whether the client may publish such a message.
func (r Rights) MayPublish(t router.Topic, qos uint8, retain bool) bool {
	return r.may(Publish, t.String(), 1<<qos, flag(retain))
}

// MaySubscribe says whether the client may subscribe to f, that is to all topics
// that f matches, with up to that QoS.
func (r Rights) MaySubscribe(f router.Filter, qos uint8) bool {
	return r.may(Subscribe, f.Pattern(), 1<<qos, anyRetain)
}

// MayReceive says whether a message that was matched with a subscription of the
// client's may be sent to it, now, with that QoS.
func (r Rights) MayReceive(t router.Topic, qos uint8) bool {
	return r.may(Subscribe, t.String(), 1<<qos, anyRetain)
}

// may asks the rules. filter is a topic or a filter's pattern.
func (r *Rights) may(a Action, filter string, qos, retain uint8) bool {
	allow, _ := r.decide(a, filter, qos, retain)
	return allow
}

// judge asks the rules, and not for what is allowed where none of them decides.
func (r *Rights) judge(a Action, filter string, qos, retain uint8) auth.Verdict {
	switch allow, by := r.decide(a, filter, qos, retain); {
	case by < 0:
		return auth.Silent
	case allow:
		return auth.Allowed
	}
	return auth.Forbidden
}

// decide asks the rules in order, and says which has decided; none if that is negative.
func (r *Rights) decide(a Action, filter string, qos, retain uint8) (allow bool, by int32) {
	if r.policy == nil {
		return false, -1
	}
	var at [lists]int
	for i, more := r.next(&at); more; i, more = r.next(&at) {
		rule := &r.policy.rules[i]
		if rule.both && !slices.Contains(rule.clients, r.subject.names[clientID]) {
			continue
		}
		if rule.action&a == 0 || rule.qos&qos == 0 || rule.retain&retain == 0 {
			continue
		}
		if len(rule.groups) > 0 && !r.subject.in(rule.groups) {
			continue
		}
		switch near := rule.relate(filter, r.subject); {
		case near == apart:
		case !rule.allow:
			return false, i // of a filter, a part at least
		case near == within:
			return true, i
		}
	}
	return r.policy.allow, -1
}

// next is the first rule of the lists from at on, which it passes.
func (r *Rights) next(at *[lists]int) (i int32, ok bool) {
	first := -1
	for k, list := range r.rules {
		if at[k] < len(list) && (first < 0 || list[at[k]] < i) {
			first, i = k, list[at[k]]
		}
	}
	if first < 0 {
		return 0, false
	}
	at[first]++
	return i, true
}
