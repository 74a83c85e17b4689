package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/raftstore/meta"
)

// fakeSecrets are records of a cluster that may not answer, as one node sees them: what is
// put by another one comes a moment later.
type fakeSecrets struct {
	mu   *sync.Mutex
	all  map[string]string // of the cluster
	away bool
	seen fakeRecords
	puts int
}

func (f *fakeSecrets) All() *meta.Records { return f.seen.All() }

func (f *fakeSecrets) Replace(ctx context.Context, name, value string, was uint64) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.puts++; f.away {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return 0, ctx.Err()
	}
	if was != 0 {
		return 0, errors.New("it would be replaced")
	}
	if _, there := f.all[name]; there {
		time.AfterFunc(makePause/2, func() { f.seen.set(f.all) })
		return 0, meta.ErrChanged
	}
	f.all[name] = value
	f.seen.set(f.all)
	return 1, nil
}

// The nodes of a cluster have one secret, which no client can guess, made once whichever of
// them comes first; it waits for a cluster that does not answer, and stays as it is.
func TestDecoys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		all := make(map[string]string)
		mu := new(sync.Mutex)
		node := func() (*decoys, *fakeSecrets) {
			f := &fakeSecrets{mu: mu, all: all}
			return &decoys{stored: f, log: slog.New(slog.NewTextHandler(&log, nil))}, f
		}
		if s := (&decoys{}).secret(); s != "" {
			t.Errorf("before there is a cluster: %q", s)
		}
		(&decoys{}).make(t.Context()) // does nothing
		one, cluster := node()
		cluster.away = true
		before := time.Now()
		one.look(t.Context())
		if time.Since(before) != takeLimit || one.secret() != "" {
			t.Errorf("a cluster that is away: %q after %v", one.secret(), time.Since(before))
		}
		mu.Lock()
		cluster.away = false
		mu.Unlock()
		one.look(t.Context())
		secret := one.secret()
		if len(secret) < 26 { // of 32 letters each
			t.Errorf("the secret %q", secret)
		}
		two, its := node()
		two.make(t.Context())
		if two.secret() != secret {
			t.Errorf("another node has %q instead of %q", two.secret(), secret)
		}
		puts := cluster.puts + its.puts
		one.make(t.Context())
		two.look(t.Context())
		if cluster.puts+its.puts != puts || one.secret() != secret {
			t.Error("it was made again")
		}
		other, theirs := node()
		theirs.all = make(map[string]string)
		other.make(t.Context())
		if other.secret() == secret {
			t.Error("another cluster has the same")
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("log: %s", log.String())
		}
	})
}
