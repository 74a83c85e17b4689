package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/node/auth"
	"dunlin/node/auth/acl"
	"dunlin/node/auth/certificate"
	"dunlin/node/auth/jwt"
	"dunlin/node/auth/password"
	"dunlin/node/auth/scram"
	"dunlin/node/auth/users"
	"dunlin/node/auth/webhook"
	"dunlin/node/config"
	"dunlin/node/limit"
	"dunlin/node/metrics"
	"dunlin/node/reload"
	"dunlin/raftstore/meta"
)

// access is who may come in, and what they may do then.
type access struct {
	auth    auth.Authenticator
	methods []auth.Method // of clients that name one in CONNECT
	decoys  decoys
	rules   *rulebook
	files   []watched                  // that may change
	checker *password.Checker          // nil: no passwords
	listed  *accounts                  // nil: there is no file of users
	stored  *accounts                  // nil: users of the cluster's store are not let in
	follows []*follower[*meta.Records] // of the cluster's records

	tokens  *jwt.Authenticator // nil: none
	remote  *jwt.Remote        // nil: no keys of tokens are fetched
	webhook *webhook.Webhook   // nil: none
}

// watched is a reload.Store of whatever.
type watched interface {
	Watch(ctx context.Context, every time.Duration)
	Refresh()
	Tell(f func(error))
	What() string
}

// newAccess reads the files that say so. close is to follow.
func newAccess(cfg config.Config, door *limit.Door, log *slog.Logger, hasher ...string) (*access, error) {
	a := &access{decoys: decoys{log: log}}
	if err := a.newRules(cfg, log); err != nil {
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
	if cfg.Auth.JWT.Enabled() {
		if err := a.newTokens(cfg.Auth.JWT, log); err != nil {
			return nil, err
		}
		chain = append(chain, a.tokens)
		for _, name := range jwt.MethodNames {
			a.addMethod(jwt.NewMethod(name, a.tokens), cfg, door)
		}
	}
	tables, err := a.newUsers(cfg, log)
	if err != nil {
		a.close()
		return nil, err
	}
	if len(tables) > 0 {
		a.checker = password.NewChecker(log, hasher...)
		chain = append(chain, users.New(a.checker, tables...))
		for _, m := range scram.Mechanisms() {
			a.addMethod(scram.NewMethod(m, users.Verifiers(tables), a.decoys.secret), cfg, door)
		}
	}
	if cfg.Auth.Webhook.URL != "" {
		if err := a.newWebhook(cfg.Auth.Webhook, log); err != nil {
			a.close()
			return nil, err
		}
		chain = append(chain, a.webhook)
	}
	if cfg.AllowAnonymous {
		chain = append(chain, auth.Nameless{})
	}
	a.auth = limit.NewLogins(door, chain)
	return a, nil
}

// newTokens has clients let in by tokens.
func (a *access) newTokens(cfg config.JWT, log *slog.Logger) error {
	var sources []func() *jwt.Keys
	for _, f := range []struct {
		key, what, path string
		read            func(io.Reader) (*jwt.Keys, error)
	}{
		{"auth.jwt.keys-file", "token keys", cfg.KeysFile, jwt.ReadKeys},
		{"auth.jwt.secret-file", "token secret", cfg.SecretFile, jwt.ReadSecret},
	} {
		if f.path == "" {
			continue
		}
		keys, err := followFile(a, reload.Source[*jwt.Keys]{
			What: f.what, Describe: func(k *jwt.Keys) []any { return []any{"keys", k.Len()} },
		}, f.path, f.read, log)
		if err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		sources = append(sources, keys.Now)
	}
	if cfg.Fetches() {
		a.remote = jwt.NewRemote(cfg.Server(), log)
	}
	if len(cfg.Audience) == 0 {
		log.Warn("tokens that are meant for others are taken too: set auth.jwt.audience")
	}
	a.tokens = jwt.New(cfg.Claims(), sources, a.remote)
	return nil
}

// newWebhook makes a's webhook. Its secret may change, its authorities do not.
func (a *access) newWebhook(cfg config.Webhook, log *slog.Logger) error {
	o := webhook.Options{
		URL: cfg.URL, Header: cfg.SecretHeader, Timeout: cfg.Timeout, Concurrency: cfg.Concurrency, Queue: cfg.Queue,
		Remember: cfg.Cache, MaxRemembered: cfg.CacheEntries, Log: log,
	}
	if cfg.CAFile != "" {
		pool, err := reload.ReadFile(cfg.CAFile, webhook.ReadCA)
		if err != nil {
			return fmt.Errorf("auth.webhook.ca-file: %s: %w", cfg.CAFile, err)
		}
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if cfg.SecretFile != "" {
		secret, err := followFile(a, reload.Source[string]{What: "webhook secret"}, cfg.SecretFile, webhook.ReadSecret, log)
		if err != nil {
			return fmt.Errorf("auth.webhook.secret-file: %w", err)
		}
		o.Secret = secret.Now
	}
	a.webhook = webhook.New(o)
	return nil
}

// newUsers gives who has a password: users of the file first, then of the store.
func (a *access) newUsers(cfg config.Config, log *slog.Logger) (tables []func() *users.Table, err error) {
	if path := cfg.Auth.UsersFile; path != "" {
		a.listed = newAccounts("file", log)
		if _, err := followFile(a, reload.Source[*users.Table]{
			What: "users", Used: a.listed.takeFile, Describe: func(t *users.Table) []any { return []any{"users", t.Len()} },
		}, path, users.Read, log); err != nil {
			return nil, fmt.Errorf("auth.users-file: %w", err)
		}
		tables = append(tables, a.listed.now)
	}
	if cfg.Auth.Store {
		a.stored = newAccounts("cluster", log)
		tables = append(tables, a.stored.now)
	}
	return tables, nil
}

// addMethod has clients prove who they are by a method.
func (a *access) addMethod(m auth.Method, cfg config.Config, door *limit.Door) {
	if cfg.Auth.ByCertificate() {
		m = certificate.Method{Method: m, Rule: cfg.Auth.Certificate}
	}
	a.methods = append(a.methods, limit.NewProofs(door, m))
}

// newRules makes a's rulebook, with the rules of the file if there is one.
func (a *access) newRules(cfg config.Config, log *slog.Logger) error {
	denied, err := auth.NewDenied(cfg.ACL.DenyFilters)
	if err != nil {
		return fmt.Errorf("acl.deny-filters: %w", err)
	}
	if a.rules, err = newRulebook(denied, cfg.Auth.Enabled(), cfg.Auth.JWT.RightsClaim != "", log); err != nil {
		return err
	}
	if path := cfg.ACL.File; path != "" {
		if _, err := followFile(a, reload.Source[*acl.Policy]{
			What: "rules", Used: a.rules.setFile, Describe: func(p *acl.Policy) []any { return []any{"rules", p.Len()} },
		}, path, acl.Read, log); err != nil {
			return fmt.Errorf("acl.file: %w", err)
		}
	}
	return nil
}

// followFile reads a file now, and when it changes.
func followFile[T any](a *access, source reload.Source[T], path string, read func(io.Reader) (T, error), log *slog.Logger) (*reload.Store[T], error) {
	source.Digest = func() reload.Digest { return reload.DigestOf(path) }
	source.Load = func() (T, error) {
		v, err := reload.ReadFile(path, read)
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return v, err
	}
	s, err := reload.Open(source, log)
	if err == nil {
		a.files = append(a.files, s)
	}
	return s, err
}

// attach has a look for what the cluster says of users and rules. expel closes the connections
// of whom former names.
func (a *access) attach(accounts, rules records, expel func(context.Context) (int, error)) {
	if a.listed != nil {
		a.listed.expel = expel
	}
	if a.stored != nil {
		a.stored.expel = expel
		a.follows = append(a.follows, followRecords(accounts, a.stored.take))
	}
	a.follows = append(a.follows, followRecords(rules, a.rules.take))
}

// look takes over what the cluster says now, so that nobody is let in before.
func (a *access) look(ctx context.Context) {
	for _, f := range a.follows {
		f.look(ctx)
	}
	if a.checker != nil {
		a.decoys.look(ctx)
	}
}

// follow takes over what the cluster says from now on, until ctx ends.
func (a *access) follow(ctx context.Context) {
	var following sync.WaitGroup
	for _, f := range a.follows {
		following.Go(func() { f.watch(ctx) })
	}
	if a.checker != nil {
		following.Go(func() { a.decoys.make(ctx) })
	}
	following.Wait()
}

// former is broker.Options.Former.
func (a *access) former() func(*auth.Principal) bool {
	switch {
	case a.listed == nil && a.stored == nil:
		return nil
	case a.listed == nil:
		return a.stored.former
	case a.stored == nil:
		return a.listed.former
	}
	return func(p *auth.Principal) bool { return a.listed.former(p) || a.stored.former(p) }
}

// filesPoll is how often files that may change are looked at. What is new is taken over a second
// later.
const filesPoll = 4 * time.Second

// watch follows the files until ctx ends.
func (a *access) watch(ctx context.Context) {
	var watching sync.WaitGroup
	for _, f := range a.files {
		watching.Go(func() { f.Watch(ctx, filesPoll) })
	}
	if a.remote != nil {
		watching.Go(func() { a.remote.Watch(ctx) })
	}
	watching.Wait()
}

// refresh has the files looked at now, and keys fetched.
func (a *access) refresh() {
	for _, f := range a.files {
		f.Refresh()
	}
	if a.remote != nil {
		a.remote.Refresh()
	}
}

// close ends what is under way for clients that are gone.
func (a *access) close() {
	if a.checker != nil {
		a.checker.Close()
	}
	if a.tokens != nil {
		a.tokens.Close()
	}
	if a.webhook != nil {
		a.webhook.Close()
	}
}

func (a *access) observe(emit metrics.Emit) {
	var hashed, here, remembered, busy uint64
	if a.checker != nil {
		s := a.checker.Stats()
		here = s.Here.Load() // first: it is a part of them
		hashed, remembered, busy = s.Hashed.Load(), s.Remembered.Load(), s.Busy.Load()
	}
	emit(metrics.Passwords, float64(hashed-here), "hashed")
	emit(metrics.Passwords, float64(here), "hashed by node")
	emit(metrics.Passwords, float64(remembered), "remembered")
	emit(metrics.Passwords, float64(busy), "busy")
	a.observeTokens(emit)
	a.observeWebhook(emit)
}

func (a *access) observeTokens(emit metrics.Emit) {
	stats := new(jwt.Stats)
	if a.tokens != nil {
		stats = a.tokens.Stats()
	}
	for outcome, n := range stats.All {
		emit(metrics.Tokens, float64(n), outcome.String())
	}
	var fetched, failed uint64
	var age time.Duration
	if a.remote != nil {
		s := a.remote.Stats()
		fetched, failed, age = s.Fetched.Load(), s.Failed.Load(), a.remote.Age()
	}
	emit(metrics.TokenKeysFetches, float64(fetched), "fetched")
	emit(metrics.TokenKeysFetches, float64(failed), "failed")
	emit(metrics.TokenKeysAge, age.Seconds())
}

func (a *access) observeWebhook(emit metrics.Emit) {
	s := new(webhook.Stats)
	if a.webhook != nil {
		s = a.webhook.Stats()
	}
	for _, x := range []struct {
		outcome string
		n       *atomic.Uint64
	}{
		{"allowed", &s.Allowed}, {"denied", &s.Denied}, {"ignored", &s.Ignored},
		{"failed", &s.Failed}, {"remembered", &s.Remembered}, {"busy", &s.Busy},
	} {
		emit(metrics.Webhooks, float64(x.n.Load()), x.outcome)
	}
}
