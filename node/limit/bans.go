package limit

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// BanKind says what a Ban names.
type BanKind string

// The kinds.
const (
	BanClient  BanKind = "client"  // a client identifier
	BanUser    BanKind = "user"    // a user's name
	BanAddress BanKind = "address" // an address, or a network of them
)

// Ban keeps clients out.
type Ban struct {
	Kind  BanKind
	Value string    // of an address as ParseNetwork takes it
	Until time.Time // by the wall clock, which may step; zero: for good
}

// ParseNetwork reads an address, or a network whose address has no bits behind its length.
func ParseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := netip.ParsePrefix(s)
	if err != nil || n != n.Masked() || n.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no address such as 192.0.2.7, and no network such as 192.0.2.0/24", s)
	}
	return n, nil
}

// banned is the bans in force, by what they name, each with its end in seconds since 1970
// (0: none). It is constant. Nil bans nobody.
type banned struct {
	clients, users map[string]int64
	networks       map[netip.Prefix]int64
	lengths        []int // of the networks, each once
	clock          func() time.Time
}

// SetBans puts bans in force in place of the former ones, for who comes from now on; what
// is there already is found by IsBanned. clock is the wall clock. It fails for a Ban that
// names nothing, and then changes nothing.
func (d *Door) SetBans(bans []Ban, clock func() time.Time) error {
	if len(bans) == 0 {
		d.bans.Store(nil)
		return nil
	}
	b := &banned{clients: map[string]int64{}, users: map[string]int64{}, networks: map[netip.Prefix]int64{}, clock: clock}
	for _, x := range bans {
		until := int64(0)
		if !x.Until.IsZero() {
			until = x.Until.Unix()
		}
		switch x.Kind {
		case BanClient:
			b.clients[x.Value] = until
		case BanUser:
			b.users[x.Value] = until
		case BanAddress:
			n, err := ParseNetwork(x.Value)
			if err != nil {
				return err
			}
			b.networks[n] = until
			if !slices.Contains(b.lengths, n.Bits()) {
				b.lengths = append(b.lengths, n.Bits())
			}
		default:
			return fmt.Errorf("a ban of %q: want client, user or address", x.Kind)
		}
	}
	d.bans.Store(b)
	return nil
}

// IsBanned says whether a client is to go that was let in before.
func (d *Door) IsBanned(clientID, name string, from netip.Addr) bool {
	return d.bans.Load().has(clientID, name, from)
}

func (b *banned) has(clientID, name string, from netip.Addr) bool {
	return b != nil && (b.hasClient(clientID) || b.hasUser(name) || b.hasAddress(from))
}

func (b *banned) hasClient(id string) bool {
	until, is := b.clients[id]
	return is && b.inForce(until)
}

// hasUser says nothing of nobody, whose name is "".
func (b *banned) hasUser(name string) bool {
	until, is := b.users[name]
	return is && name != "" && b.inForce(until)
}

func (b *banned) hasAddress(a netip.Addr) bool {
	if b == nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, n := range b.lengths {
		if n > a.BitLen() {
			continue // it is of IPv6, and the address is not
		}
		p, err := a.Prefix(n)
		if err != nil {
			continue
		}
		if until, is := b.networks[p]; is && b.inForce(until) {
			return true
		}
	}
	return false
}

func (b *banned) inForce(until int64) bool { return until == 0 || b.clock().Unix() < until }
