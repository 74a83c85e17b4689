package secure

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
)

// Counts are the handshakes since the start, and those now.
type Counts struct {
	Done    uint64            // secured connections
	Resumed uint64            // of these, with a session ticket
	Failed  map[string]uint64 // by reason, one of Reasons
	Running int               // now
	Waiting int               // for one of those to end, now
}

// Reasons why a handshake fails.
var Reasons = [...]string{"abandoned", "shed", "not_tls", "version", "cipher", "certificate", "revoked", "unlisted", "peer", "other"}

const (
	abandoned = iota
	shed
	notTLS
	version
	cipher
	certificate
	onList
	noList
	peer
	other
)

type counters struct {
	done, resumed atomic.Uint64
	failed        [len(Reasons)]atomic.Uint64
}

// Counts returns the counts of the handshakes.
func (p *Protocol) Counts() Counts {
	c := Counts{Done: p.counts.done.Load(), Resumed: p.counts.resumed.Load(), Failed: make(map[string]uint64, len(Reasons))}
	for k, r := range Reasons {
		c.Failed[r] = p.counts.failed[k].Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Running, c.Waiting = p.mu.running.Len(), p.mu.waiting.Len()
	return c
}

func (c *counters) ended(err error) {
	if err == nil {
		c.done.Add(1)
		return
	}
	c.failed[reasonOf(err)].Add(1)
}

// reasonOf judges the errors of crypto/tls, of which most are only texts.
func reasonOf(err error) int {
	var (
		header tls.RecordHeaderError
		verify *tls.CertificateVerificationError
		remote *net.OpError
	)
	switch {
	case errors.Is(err, errAbandoned):
		return abandoned
	case errors.Is(err, errShed):
		return shed
	case errors.Is(err, errNotTLS), errors.As(err, &header):
		return notTLS
	case errors.Is(err, errRevoked):
		return onList
	case errors.Is(err, errUnlisted):
		return noList
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert, which may speak of certificates too
		return peer
	case errors.As(err, &verify), strings.Contains(err.Error(), "certificate"):
		return certificate
	case strings.Contains(err.Error(), "version"):
		return version
	case strings.Contains(err.Error(), "cipher suite"):
		return cipher
	}
	return other
}
