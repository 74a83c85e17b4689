package acl

import (
	"dunlin/node/auth"
	"dunlin/router"
)

// Own is rules that a principal brings along. Where none of them speaks of what is
// asked, the rules for everybody do.
type Own struct{ policy *Policy }

// NewOwn checks the rules.
func NewOwn(rules []Rule) (Own, error) {
	p, err := NewPolicy(rules, false)
	return Own{p}, err
}

// MayPublish implements auth.Rights.
func (o Own) MayPublish(id *auth.Identity, t router.Topic, qos uint8, retain bool) auth.Verdict {
	s := subjectOf(id)
	r := o.policy.For(&s)
	return r.judge(Publish, t.String(), 1<<qos, flag(retain))
}

// MaySubscribe implements auth.Rights.
func (o Own) MaySubscribe(id *auth.Identity, f router.Filter, qos uint8) auth.Verdict {
	s := subjectOf(id)
	r := o.policy.For(&s)
	return r.judge(Subscribe, f.Pattern(), 1<<qos, anyRetain)
}

// MayReceive implements auth.Rights.
func (o Own) MayReceive(id *auth.Identity, t router.Topic, qos uint8) auth.Verdict {
	s := subjectOf(id)
	r := o.policy.For(&s)
	return r.judge(Subscribe, t.String(), 1<<qos, anyRetain)
}
