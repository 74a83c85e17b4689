package secure

import (
	"crypto/tls"
	"log/slog"
	"time"

	"dunlin/node/reload"
)

// ALPN names what is spoken within TLS.
const (
	MQTT = "mqtt"
	HTTP = "http/1.1" // WebSocket begins with it
)

// Store is Files that may change while the server runs. New connections get what is
// in them now; those that are there keep what they have.
type Store struct {
	*reload.Store[*credentials]
}

// Open reads the files; Watch is to follow.
func Open(f Files, log *slog.Logger) (*Store, error) {
	s, err := reload.Open(reload.Source[*credentials]{
		What:     "certificates",
		Digest:   func() reload.Digest { return reload.DigestOf(f.paths()...) },
		Load:     f.load,
		Used:     func(c *credentials) { c.warn(f, log) },
		Describe: func(c *credentials) []any { return []any{"expiry", c.expiry} },
	}, log)
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// warn tells of certificates that clients will not take now.
func (c *credentials) warn(f Files, log *slog.Logger) {
	for k, cert := range c.mqtt.Certificates {
		if now := time.Now(); now.After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore) {
			log.Warn("clients will refuse the certificate", "file", f.Certs[k],
				"valid_from", cert.Leaf.NotBefore, "valid_until", cert.Leaf.NotAfter)
		}
	}
}

// MQTTConfig is the configuration of handshakes for MQTT.
func (s *Store) MQTTConfig() *tls.Config { return s.Now().mqtt }

// HTTPConfig is that for WebSocket.
func (s *Store) HTTPConfig() *tls.Config { return s.Now().http }

// Expiry is the end of the certificate that expires first.
func (s *Store) Expiry() time.Time { return s.Now().expiry }
