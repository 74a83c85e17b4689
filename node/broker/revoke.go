package broker

import (
	"crypto/x509"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
)

// Revoke closes the connections of clients whose certificates are withdrawn, as the
// function says of the chains that TLS had verified. It does not wait for that. Who
// comes in meanwhile is held to Options.Withdrawn, without which no certificates are
// kept, and which has to know already what is withdrawn.
func (b *Broker) Revoke(withdrawn func(chains [][]*x509.Certificate) bool) {
	for _, w := range b.workers {
		w.loop.Post(revocation{withdrawn: withdrawn})
	}
}

// revocation is mail: the connections from a chunk of the slab on are to be looked at.
type revocation struct {
	withdrawn func(chains [][]*x509.Certificate) bool
	chunk     int
}

// revoke looks at one chunk, and has the next one looked at in another turn: there may be
// a million certificates.
func (w *worker) revoke(x revocation) {
	if x.chunk >= len(w.conns.chunks) || len(w.certificates) == 0 {
		return
	}
	for i := range w.conns.chunks[x.chunk].conns {
		c := &w.conns.chunks[x.chunk].conns[i]
		if c.phase == gone || c.phase == closing {
			continue
		}
		chains := w.certificates[c.id]
		if chains == nil || !x.withdrawn(chains) {
			continue
		}
		w.counters.Revoked++
		switch c.phase {
		case connecting:
			w.connack(c, mqtt.NotAuthorized)
		default:
			w.end(c, mqtt.NotAuthorized)
		}
	}
	x.chunk++
	w.loop.Post(x)
}

// isWithdrawn says whether the certificate of a client that comes in was withdrawn since
// its handshake.
func (w *worker) isWithdrawn(info *listen.Info) bool {
	return w.Withdrawn != nil && info.TLS != nil && w.Withdrawn(info.TLS.VerifiedChains)
}

// certificate is the one that a client has shown, and TLS has verified; nil for none.
func (w *worker) certificate(id listen.ID) *x509.Certificate {
	if chains := w.certificates[id]; len(chains) > 0 {
		return chains[0][0]
	}
	return nil
}
