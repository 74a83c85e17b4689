package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"

	"dunlin/node/auth"
)

// remembered is who was let in lately. Its key is its own, so that nothing of a password
// can be found out from it.
type remembered struct {
	key [sha256.Size]byte
	max int

	mu struct {
		sync.Mutex
		// The latest, and the ones before, of half of max each. When the latest are
		// full the ones before are forgotten.
		latest, former map[digest]pass
	}
}

type digest [sha256.Size]byte

// pass is that a client was let in.
type pass struct {
	who   *auth.Principal
	until time.Time
}

func (m *remembered) init(limit int) {
	rand.Read(m.key[:])
	m.max = limit
	m.mu.latest = make(map[digest]pass)
}

// digestOf is that of all that the server is shown, but for the port.
func (m *remembered) digestOf(r *auth.Request) (d digest) {
	c := r.Connect
	h := hmac.New(sha256.New, m.key[:])
	flags := byte(c.Version)
	for i, set := range [...]bool{c.HasUsername, c.HasPassword, r.Certificate != nil} {
		if set {
			flags |= 1 << (5 + i)
		}
	}
	h.Write([]byte{flags})
	address := r.Remote.Addr().Unmap().As16()
	h.Write(address[:])
	for _, field := range [...][]byte{[]byte(r.Listener), c.ClientID, c.Username, c.Password} {
		addField(h, field)
	}
	if r.Certificate != nil {
		addField(h, r.Certificate.Raw)
	}
	h.Sum(d[:0])
	return d
}

// addField adds a field such that no two lists of fields are alike.
func addField(h hash.Hash, b []byte) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(b)))
	h.Write(size[:])
	h.Write(b)
}

func (m *remembered) find(d digest, now time.Time) (*auth.Principal, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.mu.latest[d]
	if !ok {
		p, ok = m.mu.former[d]
	}
	return p.who, ok && now.Before(p.until)
}

func (m *remembered) add(d digest, who *auth.Principal, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.latest) >= max(m.max/2, 1) {
		m.mu.former, m.mu.latest = m.mu.latest, make(map[digest]pass)
	}
	m.mu.latest[d] = pass{who, until}
}
