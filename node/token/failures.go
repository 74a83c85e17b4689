package token

import (
	"net/netip"
	"sync"
	"time"
)

// Failures bounds how often an address may come with a wrong token. Beyond that none of its
// is looked at for a while, right or wrong. The zero value is ready.
type Failures struct {
	mu sync.Mutex
	of map[netip.Prefix]tries
}

type tries struct {
	since time.Time
	n     int
}

const (
	mostFailures  = 20 // of an address within
	failureWindow = time.Minute
	mostAddresses = 4096 // that are remembered
)

// Blocked says for how long an address has to wait; 0: it need not.
func (f *Failures) Blocked(addr netip.Addr, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.of[HostOf(addr)]
	if !ok || t.n < mostFailures {
		return 0
	}
	return max(0, t.since.Add(failureWindow).Sub(now))
}

// Failed notes that an address came with a wrong token.
func (f *Failures) Failed(addr netip.Addr, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[netip.Prefix]tries)
	}
	p := HostOf(addr)
	t, ok := f.of[p]
	if !ok {
		f.room(now)
	}
	if !ok || now.Sub(t.since) >= failureWindow {
		t = tries{since: now}
	}
	t.n++
	f.of[p] = t
}

// room forgets addresses until there is room for one more: those whose time is over, and
// if that does not help any, for whoever has so many addresses is not held by this.
func (f *Failures) room(now time.Time) {
	if len(f.of) < mostAddresses {
		return
	}
	for p, t := range f.of {
		if now.Sub(t.since) >= failureWindow {
			delete(f.of, p)
		}
	}
	for p := range f.of {
		if len(f.of) < mostAddresses {
			return
		}
		delete(f.of, p)
	}
}

// HostOf is what one holds who holds an address: that alone, or of version 6 64 bits.
func HostOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	p, _ := addr.Prefix(64) // never an error
	return p
}
