package secure

import (
	"crypto/tls"
	"crypto/x509"
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

// Open reads the files; Watch is to follow. Each time that lists of revoked certificates
// were read, expel is told how to find out whom they withdraw, by the chains that TLS had
// verified: from then on no such client gets in, and those that are there are expel's to
// end. It may be nil, and is not to block.
func Open(f Files, expel func(withdrawn func(chains [][]*x509.Certificate) bool), log *slog.Logger) (*Store, error) {
	s, err := reload.Open(reload.Source[*credentials]{
		What:   "certificates",
		Digest: func() reload.Digest { return reload.DigestOf(f.paths()...) },
		Load: func() (*credentials, error) {
			c, err := f.load()
			if err == nil && c.revoked != nil {
				c.revoked.log = log
			}
			return c, err
		},
		Used: func(c *credentials) {
			c.warn(f, log)
			if c.revoked != nil && expel != nil {
				expel(c.revoked.revokes)
			}
		},
		Describe: (*credentials).describe,
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
	if c.revoked != nil {
		c.revoked.warn(time.Now())
	}
}

func (c *credentials) describe() []any {
	of := []any{"expiry", c.expiry}
	if c.revoked != nil {
		of = append(of, "revoked", c.revoked.size())
	}
	return of
}

// MQTTConfig is the configuration of handshakes for MQTT.
func (s *Store) MQTTConfig() *tls.Config { return s.Now().mqtt }

// HTTPConfig is that for WebSocket.
func (s *Store) HTTPConfig() *tls.Config { return s.Now().http }

// Expiry is the end of the certificate that expires first.
func (s *Store) Expiry() time.Time { return s.Now().expiry }

// ListsExpiry is the end of the list of revoked certificates that is over first; zero
// if none ever is.
func (s *Store) ListsExpiry() time.Time {
	if r := s.Now().revoked; r != nil {
		return r.expiry()
	}
	return time.Time{}
}

// Withdrawn says whether a client's certificate is on a list of revoked ones, by the
// chains that TLS had verified.
func (s *Store) Withdrawn(chains [][]*x509.Certificate) bool {
	r := s.Now().revoked
	return r != nil && r.revokes(chains)
}
