package limit

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Options are what a Door allows. A number that is 0 sets no bound.
type Options struct {
	MaxConnections int
	Listeners      map[string]Listener // by name; those left out are not bounded

	ConnectionsPerAddress int
	ConnectionsPerUser    int

	// How often clients may connect in a second, and for how long what was not used may
	// be saved up.
	ConnectRate           int
	ConnectRatePerAddress int
	ConnectRatePerUser    int
	ConnectBurst          time.Duration

	// Logins that may fail: of a user from an address, before he is held off from there,
	// for twice as long after each that follows, up to MaxBackOff; and from an address in
	// a minute.
	FailedLogins           int
	FailedLoginsPerAddress int
	MaxBackOff             time.Duration

	// Connects of a client identifier in a window, beyond which it is banned for a time.
	Flapping       int
	FlappingWindow time.Duration
	FlappingBan    time.Duration

	// Trusted networks are those of which an address says nothing: a load balancer that
	// does not tell whom it speaks for. No bound by address holds there.
	Trusted []netip.Prefix

	Pressure *Pressure            // nil: never any
	Clock    func() time.Duration // monotonic, from any goroutine
	Log      *slog.Logger
}

// Listener is what a Door has to know of a listener.
type Listener struct {
	MaxConnections int
	Dear           bool // a client costs a handshake before it can be told anything
}

// Door decides who comes in. Its methods may be called from any goroutine.
type Door struct {
	o         Options
	bans      atomic.Pointer[banned]
	listeners map[string]*listener
	conns     atomic.Int64
	told      atomic.Int64 // connections that are let in to be told that they are refused
	rate      sharedBucket
	rates     struct{ address, user, failures rate }

	// Nil where nothing bounds what is in them.
	addresses *table[address]
	users     *table[user]
	pairs     *table[pair]
	flaps     *table[flap]
	flapLog   sharedBucket
	waiting   waitlist // logins of pairs

	refused [refusals]atomic.Uint64
}

type listener struct {
	Listener
	conns atomic.Int64
}

// address is what is remembered of one.
type address struct {
	rate     bucket
	failures bucket
	conns    uint32
	logins   uint32 // under way
}

// user is what is remembered of one.
type user struct {
	rate  bucket
	conns uint32
}

const (
	// maxHomes bounds the addresses, and the users, that are remembered. Beyond it they
	// share a few dozen buckets: 1,048,576 that are connected, or were lately.
	maxHomes = 1 << 20
	// maxPairs bounds those of an address and a user who failed there.
	maxPairs = 1 << 17
	// maxTold bounds the connections that are let in only to be told why they are not:
	// a courtesy that a flood does not get.
	maxTold = 64
)

// NewDoor returns a Door.
func NewDoor(o Options) *Door {
	d := &Door{o: o, listeners: make(map[string]*listener)}
	for name, l := range o.Listeners {
		d.listeners[name] = &listener{Listener: l}
	}
	d.rate.r = perSecond(o.ConnectRate, o.ConnectBurst)
	d.rates.address = perSecond(o.ConnectRatePerAddress, o.ConnectBurst)
	d.rates.user = perSecond(o.ConnectRatePerUser, o.ConnectBurst)
	d.flapLog.r = perSecond(1, 10*time.Second)
	if n := o.FailedLoginsPerAddress; n > 0 {
		d.rates.failures = rate{int64(time.Minute) / int64(n), int64(time.Minute)}
	}
	if o.ConnectionsPerAddress > 0 || o.ConnectRatePerAddress > 0 || o.FailedLoginsPerAddress > 0 {
		d.addresses = newTable(maxHomes, address.spent)
	}
	if o.ConnectionsPerUser > 0 || o.ConnectRatePerUser > 0 {
		d.users = newTable(maxHomes, user.spent)
	}
	if o.FailedLogins > 0 {
		d.pairs = newTable(maxPairs, d.forgets)
	}
	if o.Flapping > 0 {
		d.flaps = newTable(maxHomes, d.calm)
	}
	return d
}

func (a address) spent(now int64) bool {
	return a.conns == 0 && a.logins == 0 && a.rate.isFull(now) && a.failures.isFull(now)
}

func (u user) spent(now int64) bool { return u.conns == 0 && u.rate.isFull(now) }

func (d *Door) now() int64 { return int64(d.o.Clock()) }

// count counts a refusal.
func (d *Door) count(why Refusal) Refusal {
	if why != Admitted {
		d.refused[why].Add(1)
	}
	return why
}

// Arrive judges a connection that has come from an address, before anything is spent on it.
// It is to be closed at once, with in false, or kept. One that is kept for a reason other
// than Admitted is refused all the same, and kept for a moment so that its client may be
// told. What is kept counts until Depart.
func (d *Door) Arrive(name string, from netip.Addr) (why Refusal, in bool) {
	l := d.listeners[name]
	if why = d.count(d.arrive(l, from)); why == Admitted {
		return Admitted, true
	}
	if l != nil && l.Dear {
		return why, false
	}
	if d.told.Add(1) > maxTold {
		d.told.Add(-1)
		return why, false
	}
	return why, true
}

// arrive is Arrive for a listener that may be nil.
func (d *Door) arrive(l *listener, from netip.Addr) Refusal {
	switch {
	case d.bans.Load().hasAddress(from):
		return Banned
	case d.pressed():
		return Pressed
	}
	if n := d.conns.Add(1); d.o.MaxConnections > 0 && n > int64(d.o.MaxConnections) {
		d.conns.Add(-1)
		return NodeFull
	}
	why := d.pass(l, from)
	if why != Admitted {
		d.conns.Add(-1)
	}
	return why
}

func (d *Door) pressed() bool { return d.o.Pressure != nil && d.o.Pressure.Level() != None }

// pass is arrive for the listener, the address and the rate.
func (d *Door) pass(l *listener, from netip.Addr) Refusal {
	if l != nil {
		if n := l.conns.Add(1); l.MaxConnections > 0 && n > int64(l.MaxConnections) {
			l.conns.Add(-1)
			return ListenerFull
		}
	}
	now := d.now()
	why := d.passAddress(from, now)
	if why == Admitted && !d.rate.take(now) {
		d.departAddress(from)
		why = TooFast
	}
	if why != Admitted && l != nil {
		l.conns.Add(-1)
	}
	return why
}

// bounds says whether something is counted by address at the door, and of this one.
func (d *Door) bounds(from netip.Addr) bool {
	return (d.o.ConnectionsPerAddress > 0 || d.rates.address.interval > 0) && !d.trusts(from)
}

// trusts says whether the address is of a trusted network.
func (d *Door) trusts(a netip.Addr) bool {
	if len(d.o.Trusted) == 0 {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(d.o.Trusted, func(n netip.Prefix) bool { return n.Contains(a) })
}

func (d *Door) passAddress(from netip.Addr, now int64) Refusal {
	if !d.bounds(from) {
		return Admitted
	}
	a, p := d.addresses.take(d.addresses.keyOf(from), now)
	defer func() { p.put(a, now) }()
	switch {
	case d.o.ConnectionsPerAddress > 0 && int(a.conns) >= d.o.ConnectionsPerAddress:
		return AddressFull
	case d.rates.address.interval > 0 && !a.rate.has(d.rates.address, 1, now):
		return AddressTooFast
	}
	if d.rates.address.interval > 0 {
		a.rate = a.rate.without(d.rates.address, now)
	}
	a.conns++
	return Admitted
}

func (d *Door) departAddress(from netip.Addr) {
	if !d.bounds(from) {
		return
	}
	a, p := d.addresses.find(d.addresses.keyOf(from))
	a.conns--
	p.put(a, d.now())
}

// Depart ends what Arrive began; why is what that said.
func (d *Door) Depart(name string, from netip.Addr, why Refusal) {
	if why != Admitted {
		d.told.Add(-1)
		return
	}
	d.conns.Add(-1)
	if l := d.listeners[name]; l != nil {
		l.conns.Add(-1)
	}
	d.departAddress(from)
}

// Greet judges a CONNECT by what it claims, before it is known whether that is true: what
// it refuses costs no more. It takes nothing from anybody, who may be somebody else.
func (d *Door) Greet(name, clientID []byte) Refusal {
	if b := d.bans.Load(); b != nil && (b.hasClient(string(clientID)) || b.hasUser(string(name))) {
		return d.count(Banned)
	}
	if d.pressed() {
		return d.count(Pressed) // it was not yet when the connection came
	}
	if d.flaps == nil && d.rates.user.interval == 0 {
		return Admitted
	}
	now := d.now()
	if d.flaps != nil && d.isFlapping(string(name), string(clientID), now) {
		return d.count(Flapping)
	}
	if d.rates.user.interval > 0 && len(name) > 0 {
		u, p := d.users.take(d.users.keyOfPair(netip.Addr{}, name), now)
		fast := !u.rate.has(d.rates.user, 1, now)
		p.put(u, now)
		if fast {
			return d.count(UserTooFast)
		}
	}
	return Admitted
}

// Enter judges a client that is known to be a user, "" for nobody. One that it admits
// counts until Leave.
func (d *Door) Enter(name, clientID string, from netip.Addr) Refusal {
	if b := d.bans.Load(); b != nil && b.has(clientID, name, from) {
		return d.count(Banned) // it may have come into force since Greet
	}
	if d.flaps == nil && d.users == nil {
		return Admitted
	}
	now := d.now()
	if d.flaps != nil && clientID != "" && d.flapped(name, clientID, now) {
		return d.count(Flapping)
	}
	return d.count(d.enterUser(name, now))
}

func (d *Door) enterUser(name string, now int64) Refusal {
	if d.users == nil || name == "" {
		return Admitted
	}
	u, p := d.users.take(d.users.keyOfPair(netip.Addr{}, []byte(name)), now)
	defer func() { p.put(u, now) }()
	switch {
	case d.o.ConnectionsPerUser > 0 && int(u.conns) >= d.o.ConnectionsPerUser:
		return UserFull
	case d.rates.user.interval > 0 && !u.rate.has(d.rates.user, 1, now):
		return UserTooFast
	}
	if d.rates.user.interval > 0 {
		u.rate = u.rate.without(d.rates.user, now)
	}
	u.conns++
	return Admitted
}

// Leave ends what Enter began.
func (d *Door) Leave(name string) {
	if d.users == nil || name == "" {
		return
	}
	u, p := d.users.find(d.users.keyOfPair(netip.Addr{}, []byte(name)))
	u.conns--
	p.put(u, d.now())
}

// Stats are what a Door has done and holds.
type Stats struct {
	Refused     [refusals]uint64
	Connections int64 // let in and not gone, those included that are not client connections yet
	Remembered  Remembered
	Crowded     uint64 // times that something found no room and shared a bucket
}

// Remembered are the entries of the tables.
type Remembered struct{ Addresses, Users, Logins, Clients int }

// Stats are those of the moment.
func (d *Door) Stats() Stats {
	s := Stats{
		Connections: d.conns.Load(),
		Remembered:  Remembered{d.addresses.len(), d.users.len(), d.pairs.len(), d.flaps.len()},
		Crowded:     d.addresses.crowded() + d.users.crowded() + d.pairs.crowded() + d.flaps.crowded(),
	}
	for why := range s.Refused {
		s.Refused[why] = d.refused[why].Load()
	}
	return s
}
