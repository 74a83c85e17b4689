package secure

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"
)

// ALPN names what is spoken within TLS.
const (
	MQTT = "mqtt"
	HTTP = "http/1.1" // WebSocket begins with it
)

// Store is Files that may change while the server runs. New connections get what is
// in them now; those that are there keep what they have.
type Store struct {
	files   Files
	log     *slog.Logger
	now     atomic.Pointer[current]
	refresh chan struct{}

	// Of Watch alone.
	seen, told [sha256.Size]byte // digests of files that cannot be used: the last, and the last reported; none while they can
}

// none is the digest of no files.
var none [sha256.Size]byte

// current is what new handshakes are configured with.
type current struct {
	credentials
	mqtt, http *tls.Config
}

// Open reads the files; Watch is to follow.
func Open(f Files, log *slog.Logger) (*Store, error) {
	s := &Store{files: f, log: log, refresh: make(chan struct{}, 1)}
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	s.use(c)
	return s, nil
}

func (s *Store) use(c credentials) {
	n := &current{credentials: c, mqtt: c.config, http: c.config.Clone()}
	n.mqtt.NextProtos = []string{MQTT}
	n.http.NextProtos = []string{HTTP}
	s.now.Store(n)
	for k, cert := range c.config.Certificates {
		if now := time.Now(); now.After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore) {
			s.log.Warn("clients will refuse the certificate", "file", s.files.Certs[k],
				"valid_from", cert.Leaf.NotBefore, "valid_until", cert.Leaf.NotAfter)
		}
	}
}

// MQTTConfig is the configuration of handshakes for MQTT.
func (s *Store) MQTTConfig() *tls.Config { return s.now.Load().mqtt }

// HTTPConfig is that for WebSocket.
func (s *Store) HTTPConfig() *tls.Config { return s.now.Load().http }

// Expiry is the end of the certificate that expires first.
func (s *Store) Expiry() time.Time { return s.now.Load().expiry }

// Refresh has Watch look at the files at once.
func (s *Store) Refresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// Watch looks at the files every so often, until ctx ends. It reads them each time:
// not every way to replace a file shows in its times, and they are small.
func (s *Store) Watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-s.refresh:
			asked = true
		case <-ticker.C:
		}
		s.look(asked)
	}
}

// look takes over what has changed. What cannot be used is told once, and not at
// first sight unless somebody asked: a certificate and its key are seldom replaced at
// one time. Who asked, or was told of bad files, hears how it stands in any case.
func (s *Store) look(asked bool) {
	c, err := s.files.load()
	if err == nil {
		if c.digest != s.now.Load().digest {
			s.use(c)
			s.log.Info("certificates reloaded", "expiry", c.expiry)
		} else if asked || s.told != none {
			s.log.Info("certificates are those in use", "expiry", c.expiry)
		}
		s.seen, s.told = none, none
		return
	}
	again := s.seen == c.digest
	s.seen = c.digest
	if asked || again && s.told != c.digest {
		s.told = c.digest
		s.log.Error("certificates not reloaded, the former ones are kept", "error", err)
	}
}
