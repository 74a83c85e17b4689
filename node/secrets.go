package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"dunlin/cluster"
	"dunlin/node/config"
	"dunlin/node/reload"
)

// secrets are what this node and its peers know each other by, in files that may change
// while they run.
type secrets struct {
	tls   *reload.Store[*cluster.Credentials] // nil: no TLS
	keys  [][]byte                            // of gossip, at the start
	files []watched
}

// newSecrets reads them. use is told of gossip keys when they change.
func newSecrets(cfg config.Config, use func([][]byte), log *slog.Logger) (*secrets, error) {
	s := new(secrets)
	if cfg.ClusterTLS.Enabled() {
		files := cfg.ClusterTLS.Files()
		store, err := reload.Open(reload.Source[*cluster.Credentials]{
			What:     "certificates of the cluster",
			Digest:   func() reload.Digest { return reload.DigestOf(files.Paths()...) },
			Load:     files.Load,
			Describe: func(c *cluster.Credentials) []any { return []any{"expiry", c.Expiry()} },
		}, log)
		if err != nil {
			return nil, fmt.Errorf("cluster-tls-cert: %w", err)
		}
		s.tls, s.files = store, append(s.files, store)
	}
	if cfg.GossipKey != nil {
		s.keys = [][]byte{cfg.GossipKey}
	}
	if path := cfg.GossipKeyFile; path != "" {
		store, err := reload.Open(reload.Source[[][]byte]{
			What:   "gossip keys",
			Digest: func() reload.Digest { return reload.DigestOf(path) },
			Load: func() ([][]byte, error) {
				keys, err := reload.ReadFile(path, cluster.ReadGossipKeys)
				if err != nil {
					err = fmt.Errorf("%s: %w", path, err)
				}
				return keys, err
			},
			Used: func(keys [][]byte) {
				if s.keys != nil { // the first ones are those of the start
					use(keys)
				}
			},
			Describe: func(keys [][]byte) []any { return []any{"keys", len(keys)} },
		}, log)
		if err != nil {
			return nil, fmt.Errorf("gossip-key-file: %w", err)
		}
		s.keys, s.files = store.Now(), append(s.files, store)
	}
	return s, nil
}

// useGossipKeys has gossip go on with them. They have been read by ReadGossipKeys, and
// gossip is encrypted if there is a file of them, so it takes them.
func (n *Node) useGossipKeys(keys [][]byte) {
	if err := n.cluster.UseGossipKeys(keys); err != nil {
		n.log.Error("gossip goes on with the former keys", "err", err)
	}
}

func (s *secrets) gossipKeys() [][]byte { return s.keys }

// credentials is what tells those of the moment; nil: there are none.
func (s *secrets) credentials() func() *cluster.Credentials {
	if s.tls == nil {
		return nil
	}
	return s.tls.Now
}

// watch follows the files until ctx ends.
func (s *secrets) watch(ctx context.Context) {
	var watching sync.WaitGroup
	for _, f := range s.files {
		watching.Go(func() { f.Watch(ctx, filesPoll) })
	}
	watching.Wait()
}

// refresh has the files looked at now.
func (s *secrets) refresh() {
	for _, f := range s.files {
		f.Refresh()
	}
}
