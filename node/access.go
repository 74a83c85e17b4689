package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"dunlin/node/auth"
	"dunlin/node/auth/acl"
	"dunlin/node/auth/certificate"
	"dunlin/node/auth/password"
	"dunlin/node/auth/users"
	"dunlin/node/broker"
	"dunlin/node/config"
	"dunlin/node/metrics"
	"dunlin/node/reload"
)

// access is who may come in, and what they may do then.
type access struct {
	auth    auth.Authenticator
	guard   broker.Authorizer
	files   []watched         // that may change
	checker *password.Checker // nil: no passwords
}

// watched is a reload.Store of whatever.
type watched interface {
	Watch(ctx context.Context, every time.Duration)
	Refresh()
}

// newAccess reads the files that say so. close is to follow.
func newAccess(cfg config.Config, log *slog.Logger) (*access, error) {
	a := new(access)
	if err := a.newGuard(cfg, log); err != nil {
		return nil, err
	}
	if !cfg.Auth.Enabled() {
		a.auth = auth.Anonymous{}
		return a, nil
	}
	var chain auth.Chain
	if cfg.Auth.ByCertificate() {
		chain = append(chain, certificate.Authenticator{Rule: cfg.Auth.Certificate})
	}
	if path := cfg.Auth.UsersFile; path != "" {
		all, err := follow(a, "users", path, users.Read, func(t *users.Table) []any { return []any{"users", t.Len()} }, log)
		if err != nil {
			return nil, fmt.Errorf("auth.users-file: %w", err)
		}
		a.checker = password.NewChecker()
		chain = append(chain, users.New(all.Now, a.checker))
	}
	if cfg.AllowAnonymous {
		chain = append(chain, auth.Nameless{})
	}
	a.auth = chain
	return a, nil
}

// newGuard makes a's guard. Where clients are asked who they are, and nothing says what
// they may do, they may do nothing.
func (a *access) newGuard(cfg config.Config, log *slog.Logger) error {
	denied, err := auth.NewDenied(cfg.ACL.DenyFilters)
	if err != nil {
		return fmt.Errorf("acl.deny-filters: %w", err)
	}
	if path := cfg.ACL.File; path != "" {
		rules, err := follow(a, "rules", path, acl.Read, func(p *acl.Policy) []any { return []any{"rules", p.Len()} }, log)
		if err != nil {
			return fmt.Errorf("acl.file: %w", err)
		}
		a.guard = acl.Guard{Denied: denied, Policy: rules.Now}
		return nil
	}
	if !cfg.Auth.Enabled() {
		a.guard = denied
		return nil
	}
	log.Warn("no client may publish or subscribe to anything: set acl.file to say who may what")
	nothing := new(acl.Policy)
	a.guard = acl.Guard{Denied: denied, Policy: func() *acl.Policy { return nothing }}
	return nil
}

// follow reads a file now, and when it changes.
func follow[T any](a *access, what, path string, read func(io.Reader) (T, error), describe func(T) []any, log *slog.Logger) (*reload.Store[T], error) {
	s, err := reload.Open(reload.Source[T]{
		What:   what,
		Digest: func() reload.Digest { return reload.DigestOf(path) },
		Load: func() (T, error) {
			v, err := reload.ReadFile(path, read)
			if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return v, err
		},
		Describe: describe,
	}, log)
	if err == nil {
		a.files = append(a.files, s)
	}
	return s, err
}

// filesPoll is how often files that may change are looked at.
const filesPoll = 5 * time.Second

// watch follows the files until ctx ends.
func (a *access) watch(ctx context.Context) {
	var watching sync.WaitGroup
	for _, f := range a.files {
		watching.Go(func() { f.Watch(ctx, filesPoll) })
	}
	watching.Wait()
}

// refresh has the files looked at now.
func (a *access) refresh() {
	for _, f := range a.files {
		f.Refresh()
	}
}

// close ends what is under way for clients that are gone.
func (a *access) close() {
	if a.checker != nil {
		a.checker.Close()
	}
}

func (a *access) observe(emit metrics.Emit) {
	var hashed, remembered, busy uint64
	if a.checker != nil {
		s := a.checker.Stats()
		hashed, remembered, busy = s.Hashed.Load(), s.Remembered.Load(), s.Busy.Load()
	}
	emit(metrics.Passwords, float64(hashed), "hashed")
	emit(metrics.Passwords, float64(remembered), "remembered")
	emit(metrics.Passwords, float64(busy), "busy")
}
