package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"dunlin/cluster/control"
	"dunlin/node/admin"
	"dunlin/node/auth"
	"dunlin/node/auth/users"
	"dunlin/raftstore/meta"
)

// accounts are the users of the cluster's store, or of the node's file.
type accounts struct {
	whose  string // in the log
	log    *slog.Logger
	expel  func(context.Context) (int, error) // closes the connections of those whom former names
	latest atomic.Pointer[users.Table]
	told   bool // the log has been told of the first; of take
}

func newAccounts(whose string, log *slog.Logger) *accounts {
	a := &accounts{whose: whose, log: log}
	a.latest.Store(new(users.Table))
	return a
}

// now are the users of the moment.
func (a *accounts) now() *users.Table { return a.latest.Load() }

// former says whether somebody is no user of theirs any more, who was one.
func (a *accounts) former(p *auth.Principal) bool { return !a.now().Holds(p) }

// take takes the users of the store over, and closes the connections of those who are gone
// or have another password.
func (a *accounts) take(ctx context.Context, all *meta.Records) {
	next, withdrawn, err := a.now().Follow(texts(all))
	a.latest.Store(next)
	if err != nil {
		a.log.Error("users of the cluster left out", "error", err)
	}
	switch {
	case withdrawn:
		a.withdraw(ctx, next)
	case !a.told:
		a.log.Info("users of the cluster", "users", next.Len())
	}
	a.told = true
}

// takeFile takes the users of the file over as take does those of the store. Nobody else
// has seen next yet.
func (a *accounts) takeFile(next *users.Table) {
	withdrawn := next.Succeed(a.now())
	a.latest.Store(next)
	if withdrawn {
		ctx, cancel := context.WithTimeout(context.Background(), takeLimit)
		defer cancel()
		a.withdraw(ctx, next)
	}
}

// withdraw closes the connections of those who are not among the next.
func (a *accounts) withdraw(ctx context.Context, next *users.Table) {
	closed, err := a.expel(ctx)
	if err != nil {
		a.log.Warn("users were withdrawn, and not all event loops have answered that they are gone", "of", a.whose, "error", err)
		return
	}
	a.log.Info("users were withdrawn", "of", a.whose, "users", next.Len(), "closed", closed)
}

// texts are the names and values of records.
func texts(all *meta.Records) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, r := range all.All() {
			if !yield(r.Name, r.Value) {
				return
			}
		}
	}
}

// follower has take follow something that the cluster says, one call after the other.
type follower[T comparable] struct {
	now     func() T
	take    func(context.Context, T)
	changed chan struct{}
	taking  chan struct{} // held by who calls take

	last  T // that was taken, if any was; of who calls take
	taken bool
}

func newFollower[T comparable](now func() T, take func(context.Context, T)) *follower[T] {
	return &follower[T]{now: now, take: take, changed: make(chan struct{}, 1), taking: make(chan struct{}, 1)}
}

// records are control.Records.
type records interface {
	All() *meta.Records
	Watch(f func(*meta.Records))
}

// followRecords follows those of a kind.
func followRecords(r records, take func(context.Context, *meta.Records)) *follower[*meta.Records] {
	f := newFollower(r.All, take)
	r.Watch(func(*meta.Records) { f.wake() })
	return f
}

// wake says that there may be something new.
func (f *follower[T]) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

const (
	followPace = 200 * time.Millisecond // at least between two takes of watch: each may visit every connection
	takeLimit  = 5 * time.Second
)

// watch takes what changes until ctx ends.
func (f *follower[T]) watch(ctx context.Context) {
	pause := time.NewTicker(followPace)
	defer pause.Stop()
	for {
		select {
		case <-f.changed:
			f.look(ctx)
		case <-ctx.Done():
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// look takes what there is at the moment, if it has not been.
func (f *follower[T]) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	select {
	case f.taking <- struct{}{}:
		if now := f.now(); !f.taken || now != f.last {
			f.taken, f.last = true, now
			f.take(ctx, now)
		}
		<-f.taking
	case <-ctx.Done():
	}
}

// userStore shows administrators the users of the store, and changes them.
type userStore struct {
	n      *Node
	stored control.Records
	hashes chan struct{} // room for passwords that are being hashed
}

// maxHashing bounds how many passwords are hashed for administrators at a time: each takes
// 19 MB.
const maxHashing = 2

func newUserStore(n *Node) userStore {
	return userStore{n: n, stored: n.control.Records(meta.KindUser), hashes: make(chan struct{}, maxHashing)}
}

// Users implements admin.Users.
func (s userStore) Users(_ context.Context, after string, limit int) (page []admin.User, inUse bool, err error) {
	if s.n.store.Load() == nil {
		return nil, false, errNotEntered
	}
	for _, r := range s.stored.All().All() {
		if r.Name > after {
			if len(page) == limit {
				break
			}
			page = append(page, admin.User{Name: r.Name, Revision: r.Revision})
		}
	}
	return page, s.n.cfg.Auth.Store, nil
}

// PutUser implements admin.Users.
func (s userStore) PutUser(ctx context.Context, name string, c admin.Credentials, add bool) (revision uint64, err error) {
	if err := users.CheckName(name); err != nil {
		return 0, admin.Invalid(err)
	}
	text := c.Hash
	switch {
	case text == "":
		if text, err = s.hash(ctx, c.Password); err != nil {
			return 0, err
		}
	case c.Password != "":
		return 0, admin.Invalid(errors.New("want one of password and hash"))
	}
	if err := users.Check(text); err != nil {
		return 0, admin.Invalid(err)
	}
	if add {
		revision, err = s.stored.Replace(ctx, name, text, 0)
	} else {
		revision, err = s.stored.Put(ctx, name, text)
	}
	if errors.Is(err, meta.ErrChanged) {
		return 0, admin.Conflict(fmt.Errorf("user %q is there already", name))
	}
	if err != nil {
		return 0, refused(err)
	}
	s.n.access.look(ctx)
	return revision, nil
}

// hash makes what is kept of a password, a few at a time.
func (s userStore) hash(ctx context.Context, secret string) (string, error) {
	select {
	case s.hashes <- struct{}{}:
		defer func() { <-s.hashes }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	text, err := users.Make([]byte(secret))
	if err != nil {
		return "", admin.Invalid(err)
	}
	return text, nil
}

// RemoveUser implements admin.Users.
func (s userStore) RemoveUser(ctx context.Context, name string) error {
	err := s.stored.Remove(ctx, name)
	if errors.Is(err, meta.ErrNoRecord) {
		return admin.NotFound(fmt.Errorf("there is no user %q", name))
	}
	s.n.access.look(ctx)
	return refused(err)
}
