package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
	"dunlin/node/auth/users"
	"dunlin/node/config"
	"dunlin/node/metrics"
	"dunlin/node/reload"
)

// access is who may come in, and what they may do then.
type access struct {
	auth    auth.Authenticator
	users   *reload.Store[*users.Table] // nil: no file of users
	checker *password.Checker           // nil: no passwords
}

// newAccess reads the files that say so; an error of one of them is its setting's.
// close is to follow.
func newAccess(cfg config.Config, log *slog.Logger) (*access, error) {
	a := &access{auth: auth.Anonymous{}}
	if !cfg.Auth.Enabled() {
		return a, nil
	}
	var chain auth.Chain
	if path := cfg.Auth.UsersFile; path != "" {
		var err error
		if a.users, err = reload.Open(reload.Source[*users.Table]{
			What:     "users",
			Digest:   func() reload.Digest { return reload.DigestOf(path) },
			Load:     func() (*users.Table, error) { return load(path, users.Load) },
			Describe: func(t *users.Table) []any { return []any{"users", t.Len()} },
		}, log); err != nil {
			return nil, fmt.Errorf("auth.users-file: %w", err)
		}
		a.checker = password.NewChecker()
		chain = append(chain, users.New(a.users.Now, a.checker))
	}
	if cfg.AllowAnonymous {
		chain = append(chain, auth.Nameless{})
	}
	a.auth = chain
	return a, nil
}

// load has read's error name the file.
func load[T any](path string, read func(path string) (T, error)) (T, error) {
	v, err := read(path)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return v, err
}

// filesPoll is how often files that may change are looked at.
const filesPoll = 5 * time.Second

// watch follows the files until ctx ends.
func (a *access) watch(ctx context.Context) {
	var watching sync.WaitGroup
	if a.users != nil {
		watching.Go(func() { a.users.Watch(ctx, filesPoll) })
	}
	watching.Wait()
}

// refresh has the files looked at now.
func (a *access) refresh() {
	if a.users != nil {
		a.users.Refresh()
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
