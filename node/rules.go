package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"dunlin/cluster/control"
	"dunlin/node/admin"
	"dunlin/node/auth"
	"dunlin/node/auth/acl"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// rulebook is what clients may do: the rules of this node's file first, then those of the
// cluster's store. It is the broker's Authorizer.
type rulebook struct {
	acl.Guard
	log      *slog.Logger
	policy   atomic.Pointer[acl.Policy]
	free     atomic.Bool // nothing is denied to anybody
	fallback *acl.Policy // where there are no rules at all

	mu struct {
		sync.Mutex
		file, stored *acl.Policy // nil: none
		revision     uint64      // of the store, that was looked at
	}
}

// newRulebook makes one without rules. Where clients are asked who they are, and nothing
// says what they may do, they may do nothing; own says that they may bring rules along.
func newRulebook(denied auth.Denied, asked, own bool, log *slog.Logger) (*rulebook, error) {
	var err error
	r := &rulebook{log: log, fallback: new(acl.Policy)}
	r.Guard = acl.Guard{Denied: denied, Policy: r.policy.Load, Own: own}
	if !asked {
		if r.fallback, err = acl.NewPolicy(nil, true); err != nil {
			return nil, err
		}
	}
	r.joinLocked() // nobody else has r
	return r, nil
}

// Unrestricted implements broker.Authorizer: it is asked for each message.
func (r *rulebook) Unrestricted() bool { return r.free.Load() }

// setFile takes the rules of the file over.
func (r *rulebook) setFile(p *acl.Policy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.file = p
	r.joinLocked()
}

// rulesName is the name of the one record of rules.
const rulesName = "rules"

// take takes the rules of the store over. Those that cannot be read, which a later release
// has put there, change nothing; where there were none before, nothing is allowed.
func (r *rulebook) take(_ context.Context, all *meta.Records) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, found := all.Find(rulesName)
	if record.Revision == r.mu.revision {
		return
	}
	r.mu.revision = record.Revision
	if !found {
		r.mu.stored = nil
		r.joinLocked()
		r.log.Info("the cluster's rules were removed")
		return
	}
	p, err := acl.Read(strings.NewReader(record.Value))
	switch {
	case err == nil:
		r.mu.stored = p
		r.log.Info("rules of the cluster", "rules", p.Len(), "revision", record.Revision)
	case r.mu.stored != nil:
		r.log.Error("rules of the cluster not taken over, the former ones are kept", "revision", record.Revision, "error", err)
	default:
		r.mu.stored = new(acl.Policy)
		r.log.Error("rules of the cluster not taken over, nothing is allowed by them", "revision", record.Revision, "error", err)
	}
	r.joinLocked()
}

func (r *rulebook) joinLocked() {
	p := r.fallback
	switch file, stored := r.mu.file, r.mu.stored; {
	case file != nil && stored != nil:
		p = file.Then(stored)
	case file != nil:
		p = file
	case stored != nil:
		p = stored
	}
	r.policy.Store(p)
	r.free.Store(r.Guard.Unrestricted())
}

// warn tells of rules that are missing, once those of the cluster are known.
func (r *rulebook) warn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.policy.Load() == r.fallback && !r.fallback.Unrestricted() && !r.Own {
		r.log.Warn("no client may publish or subscribe to anything: set acl.file, or use dunlin acl set, to say who may what")
	}
}

// ruleset shows administrators the rules, and changes those of the cluster.
type ruleset struct {
	n      *Node
	stored control.Records
}

// Rules implements admin.Rules.
func (s ruleset) Rules(context.Context) (admin.RuleSet, error) {
	if s.n.store.Load() == nil {
		return admin.RuleSet{}, errNotEntered
	}
	record, _ := s.stored.All().Find(rulesName)
	set := admin.RuleSet{Text: record.Value, Revision: record.Revision}
	r := s.n.access.rules
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.stored != nil {
		set.Rules = r.mu.stored.Len()
	}
	if r.mu.file != nil {
		set.FileRules = r.mu.file.Len()
	}
	return set, nil
}

// SetRules implements admin.Rules.
func (s ruleset) SetRules(ctx context.Context, text string) (admin.RuleSet, error) {
	if _, err := acl.Read(strings.NewReader(text)); err != nil {
		return admin.RuleSet{}, admin.Invalid(err)
	}
	if _, err := s.stored.Put(ctx, rulesName, text); err != nil {
		return admin.RuleSet{}, refused(err)
	}
	s.n.access.look(ctx)
	return s.Rules(ctx)
}

// RemoveRules implements admin.Rules.
func (s ruleset) RemoveRules(ctx context.Context) error {
	err := s.stored.Remove(ctx, rulesName)
	if errors.Is(err, meta.ErrNoRecord) {
		return admin.NotFound(errors.New("the cluster has no rules"))
	}
	s.n.access.look(ctx)
	return refused(err)
}

// CheckRules implements admin.Rules. It asks what the broker would, and in that order.
func (s ruleset) CheckRules(q admin.Question) (v admin.Verdict, err error) {
	r := s.n.access.rules
	r.mu.Lock()
	defer r.mu.Unlock()
	cert := ""
	if q.Certified {
		cert = q.User
	}
	subject := acl.NewSubject(q.Client, q.User, cert)
	rights := r.policy.Load().For(&subject)
	var found acl.Verdict
	if q.Action == admin.Publish {
		t, err := router.ParseTopic([]byte(q.Topic))
		if err != nil {
			return v, admin.Invalid(fmt.Errorf("topic: %q is not allowed: %w", q.Topic, err))
		}
		if strings.HasPrefix(q.Topic, "$") {
			return admin.Verdict{By: admin.ByReserved}, nil // case 41
		}
		found = rights.ExplainPublish(t, q.QoS, q.Retain)
	} else {
		f, err := router.ParseFilter([]byte(q.Topic))
		if err != nil {
			return v, admin.Invalid(fmt.Errorf("topic: %q is not allowed: %w", q.Topic, err))
		}
		if !r.Denied.MaySubscribe(nil, f, q.QoS) {
			return admin.Verdict{By: admin.ByDenyFilters}, nil
		}
		found = rights.ExplainSubscribe(f, q.QoS)
	}
	v = admin.Verdict{Allowed: found.Allowed, By: admin.ByDefault, Rule: found.Rule, Text: found.Text}
	file := 0
	if r.mu.file != nil {
		file = r.mu.file.Len()
	}
	switch {
	case v.Rule == 0:
	case v.Rule <= file:
		v.By = admin.ByFile
	default:
		v.By, v.Rule = admin.ByStore, v.Rule-file
	}
	return v, nil
}
