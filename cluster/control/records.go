package control

import (
	"context"

	"dunlin/raftstore/meta"
)

// Records are those of one kind that the whole cluster has, as this node knows them:
// a moment behind meta's leader, and what they were while it cannot be reached. Safe
// for concurrent use. Package meta says what records are.
type Records struct {
	c    *Control
	kind meta.Kind
}

// Records gives those of a kind.
func (c *Control) Records(kind meta.Kind) Records { return Records{c, kind} }

// All are the records of the moment; nil, which has none, where there never were any, or
// before this node has entered the cluster.
func (r Records) All() *meta.Records { return r.c.State().Records[r.kind] }

// Put gives a record a value, a new record too, and returns the kind's revision when this
// node has it; others have it a moment later. Errors are those of PutRecord and of Propose.
// After ErrUnknown it may be carried out yet.
func (r Records) Put(ctx context.Context, name, value string) (revision uint64, err error) {
	cmd := &meta.PutRecord{Kind: r.kind, Name: name, Value: value}
	if err := cmd.Check(); err != nil {
		return 0, err
	}
	return r.learn(ctx, cmd, true)
}

// Replace is Put, if the record's revision is still was, 0: if it is not there. Otherwise it is
// meta.ErrChanged.
func (r Records) Replace(ctx context.Context, name, value string, was uint64) (revision uint64, err error) {
	cmd := &meta.PutRecord{Kind: r.kind, Name: name, Value: value, Was: &was}
	if err := cmd.Check(); err != nil {
		return 0, err
	}
	return r.learn(ctx, cmd, false)
}

// Remove takes a record away, and returns when this node has it no more. The error is
// meta.ErrNoRecord if it is not there, or as for Put.
func (r Records) Remove(ctx context.Context, name string) error {
	_, err := r.learn(ctx, &meta.RemoveRecord{Kind: r.kind, Name: name}, false)
	return err
}

// learn proposes a command, again if that does no harm, and waits until this node has it.
func (r Records) learn(ctx context.Context, cmd meta.Command, again bool) (revision uint64, err error) {
	propose := r.c.Propose
	if again {
		propose = r.c.proposeAgain
	}
	done, err := propose(ctx, cmd)
	if err != nil {
		return 0, err
	}
	return done.Revision, r.c.learn(ctx, done.Index)
}

// Watch has f called with the records there are, and after each change of them, one call
// after the other, in order; changes that came together in a snapshot are one. f may not
// block, nor call Control.
func (r Records) Watch(f func(*meta.Records)) {
	var known *meta.Records
	first := true
	r.c.Watch(func(s *meta.State) {
		if now := s.Records[r.kind]; first || now != known {
			first, known = false, now
			f(now)
		}
	})
}
