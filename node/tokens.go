package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"dunlin/cluster/control"
	"dunlin/node/admin"
	"dunlin/node/config"
	"dunlin/node/reload"
	"dunlin/node/token"
	"dunlin/raftstore/meta"
)

// maxTokens bounds those of the cluster: a request is compared with each of them.
const maxTokens = 1000

// tokens are those of the API: the cluster's, and those of this node's file.
type tokens struct {
	stored control.Records
	file   *reload.Store[[]token.Token] // nil: none
	log    *slog.Logger
	read   atomic.Pointer[readTokens]
}

// readTokens are the cluster's as they were read.
type readTokens struct {
	from *meta.Records
	all  []token.Token
}

// newTokens reads the file.
func newTokens(cfg config.Config, stored control.Records, log *slog.Logger) (*tokens, error) {
	t := &tokens{stored: stored, log: log}
	path := cfg.HTTP.TokenFile
	if path == "" {
		return t, nil
	}
	s, err := reload.Open(reload.Source[[]token.Token]{
		What:   "tokens",
		Digest: func() reload.Digest { return reload.DigestOf(path) },
		Load: func() ([]token.Token, error) {
			all, err := reload.ReadFile(path, token.ReadFile)
			if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return all, err
		},
		Describe: func(all []token.Token) []any { return []any{"tokens", len(all)} },
	}, log)
	if err != nil {
		return nil, fmt.Errorf("http.token-file: %w", err)
	}
	t.file = s
	return t, nil
}

// watch follows the file until ctx ends.
func (t *tokens) watch(ctx context.Context) {
	if t.file != nil {
		t.file.Watch(ctx, filesPoll)
	}
}

// refresh has the file looked at now.
func (t *tokens) refresh() {
	if t.file != nil {
		t.file.Refresh()
	}
}

// ofCluster are the cluster's, of the moment. What cannot be read, as a later release may have
// written it, lets nobody in.
func (t *tokens) ofCluster() []token.Token {
	now := t.stored.All()
	if r := t.read.Load(); r != nil && r.from == now {
		return r.all
	}
	r := &readTokens{from: now}
	for _, x := range now.All() {
		one, err := token.Decode(x.Name, x.Value)
		if err != nil {
			t.log.Warn("a token of the cluster is left out", "token", x.Name, "err", err)
			continue
		}
		r.all = append(r.all, one)
	}
	t.read.Store(r)
	return r.all
}

func (t *tokens) ofFile() []token.Token {
	if t.file == nil {
		return nil
	}
	return t.file.Now()
}

// Find implements admin.Tokens.
func (t *tokens) Find(secret string) (token.Token, bool) {
	now := time.Now()
	a, ok := token.Find(t.ofCluster(), secret, now)
	b, too := token.Find(t.ofFile(), secret, now)
	if !ok {
		return b, too
	}
	return a, true
}

// List implements admin.Tokens.
func (t *tokens) List() (all []admin.TokenInfo) {
	now := time.Now()
	for _, x := range t.ofCluster() {
		all = append(all, admin.InfoOf(x, "cluster", now))
	}
	for _, x := range t.ofFile() {
		all = append(all, admin.InfoOf(x, "file", now))
	}
	slices.SortStableFunc(all, func(a, b admin.TokenInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Create implements admin.Tokens.
func (t *tokens) Create(ctx context.Context, x token.Token) error {
	if slices.ContainsFunc(t.ofFile(), func(y token.Token) bool { return y.Name == x.Name }) {
		return admin.Conflict(fmt.Errorf("a token %q stands in this node's http.token-file", x.Name))
	}
	if len(t.ofCluster()) >= maxTokens {
		return admin.Conflict(fmt.Errorf("there are %d tokens: revoke some", maxTokens))
	}
	_, err := t.stored.Replace(ctx, x.Name, x.Encode(), 0)
	if errors.Is(err, meta.ErrChanged) {
		return admin.Conflict(fmt.Errorf("there is a token %q: revoke it first", x.Name))
	}
	return refused(err)
}

// Revoke implements admin.Tokens.
func (t *tokens) Revoke(ctx context.Context, name string) error {
	err := t.stored.Remove(ctx, name)
	if errors.Is(err, meta.ErrNoRecord) {
		if slices.ContainsFunc(t.ofFile(), func(y token.Token) bool { return y.Name == name }) {
			return admin.Conflict(fmt.Errorf("token %q stands in this node's http.token-file: take it out there", name))
		}
		return admin.NotFound(fmt.Errorf("there is no token %q", name))
	}
	return refused(err)
}
