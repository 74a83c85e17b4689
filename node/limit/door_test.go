package limit

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// clock is a Door's, set by the test.
type clock struct{ now time.Duration }

func (c *clock) pass(d time.Duration) { c.now += d }

// open makes a Door with time standing still.
func open(o Options) (*Door, *clock) {
	c := &clock{now: time.Hour}
	o.Clock = func() time.Duration { return c.now }
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return NewDoor(o), c
}

var (
	home1 = netip.MustParseAddr("192.0.2.1")
	home2 = netip.MustParseAddr("192.0.2.2")
)

// arrivals is how many of n connections from an address are let in.
func arrivals(d *Door, from netip.Addr, n int) (in int, why Refusal) {
	for range n {
		if last, _ := d.Arrive("mqtt", from); last == Admitted {
			in++
		} else {
			why = last
		}
	}
	return in, why
}

// What bounds connections lets as many in as it says, and another one when one has gone.
func TestConnections(t *testing.T) {
	two := func(l Listener) map[string]Listener { return map[string]Listener{"mqtt": l} }
	for name, c := range map[string]struct {
		o         Options
		why       Refusal
		elsewhere Refusal // for another address
		other     Refusal // at another listener
	}{
		"of the node":   {Options{MaxConnections: 3}, NodeFull, NodeFull, NodeFull},
		"of a listener": {Options{Listeners: two(Listener{MaxConnections: 3})}, ListenerFull, ListenerFull, Admitted},
		"of an address": {Options{ConnectionsPerAddress: 3}, AddressFull, Admitted, AddressFull},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := open(c.o)
			if in, why := arrivals(d, home1, 5); in != 3 || why != c.why {
				t.Fatalf("%d let in, then %v", in, why)
			}
			if why, in := d.Arrive("mqtt", home2); why != c.elsewhere || !in {
				t.Errorf("from elsewhere: %v, kept %v", why, in)
			} else {
				d.Depart("mqtt", home2, why)
			}
			if why, _ := d.Arrive("ws", home1); why != c.other {
				t.Errorf("at another listener: %v", why)
			} else {
				d.Depart("ws", home1, why)
			}
			d.Depart("mqtt", home1, c.why) // of one that was refused nothing was counted
			if why, _ := d.Arrive("mqtt", home1); why != c.why {
				t.Errorf("when one that was refused has gone: %v", why)
			}
			d.Depart("mqtt", home1, Admitted)
			if in, _ := arrivals(d, home1, 2); in != 1 {
				t.Errorf("%d let in when one has gone", in)
			}
			if s := d.Stats(); s.Connections != 3 || s.Refused[c.why] == 0 {
				t.Errorf("stats %+v", s)
			}
			for range 3 {
				d.Depart("mqtt", home1, Admitted)
			}
			if s := d.Stats(); s.Connections != 0 || s.Remembered != (Remembered{}) {
				t.Errorf("left: %+v", s)
			}
		})
	}
}

// Of IPv6 a customer has 64 bits; an address of IPv4 is the same however it is written.
func TestHomes(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true}, {"2001:db8:0:1::1", "2001:db8:0:2::1", false}, {"::1", "192.0.2.1", false},
	} {
		d, _ := open(Options{ConnectionsPerAddress: 1})
		arrivals(d, netip.MustParseAddr(c.a), 1)
		if in, _ := arrivals(d, netip.MustParseAddr(c.b), 1); (in == 0) != c.same {
			t.Errorf("%s and %s: one %v, want %v", c.a, c.b, in == 0, c.same)
		}
	}
}

// A rate lets a burst in, and then as many as time brings; what an address is refused,
// others have.
func TestConnectRates(t *testing.T) {
	d, clock := open(Options{ConnectRate: 10, ConnectRatePerAddress: 3, ConnectBurst: 2 * time.Second})
	if in, why := arrivals(d, home1, 100); in != 6 || why != AddressTooFast {
		t.Errorf("%d let in, then %v", in, why)
	}
	if in, _ := arrivals(d, home2, 100); in != 6 {
		t.Errorf("%d from elsewhere", in)
	}
	all := 12
	for k := range 10 {
		in, _ := arrivals(d, netip.AddrFrom4([4]byte{10, 0, 0, byte(k)}), 3)
		all += in
	}
	if all != 20 {
		t.Errorf("%d let in altogether", all)
	}
	clock.pass(time.Second)
	if in, why := arrivals(d, home1, 100); in != 3 || why != AddressTooFast {
		t.Errorf("%d a second later, then %v", in, why)
	}
	clock.pass(time.Hour)
	if in, _ := arrivals(d, home1, 100); in != 6 {
		t.Errorf("%d after an hour", in)
	}
}

// What the node's rate refuses, its address has not had.
func TestRateOfTheNodeTakesNothingOfAnAddress(t *testing.T) {
	d, clock := open(Options{ConnectRate: 1, ConnectBurst: time.Second, ConnectionsPerAddress: 2, Listeners: map[string]Listener{"mqtt": {MaxConnections: 2}}})
	for round := range 2 {
		if in, _ := arrivals(d, home1, 1); in != 1 {
			t.Fatalf("round %d: none is let in", round)
		}
		for range 10 {
			why, in := d.Arrive("mqtt", home1)
			if want := [2]Refusal{TooFast, ListenerFull}[round]; why != want {
				t.Fatalf("round %d, beyond the rate: %v instead of %v", round, why, want)
			}
			if in {
				d.Depart("mqtt", home1, why)
			}
		}
		clock.pass(time.Second)
	}
	for range 2 {
		d.Depart("mqtt", home1, Admitted)
	}
	if s := d.Stats(); s.Connections != 0 || s.Remembered.Addresses != 0 {
		t.Errorf("in the end %+v", s)
	}
}

// No bound by address holds for a trusted network; those of the node do.
func TestTrusted(t *testing.T) {
	d, _ := open(Options{MaxConnections: 50, ConnectionsPerAddress: 1, ConnectRatePerAddress: 1, ConnectBurst: time.Second,
		Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
	if in, why := arrivals(d, home1, 100); in != 50 || why != NodeFull {
		t.Errorf("%d let in, then %v", in, why)
	}
	for range 50 {
		d.Depart("mqtt", home1, Admitted)
	}
	if in, why := arrivals(d, home2, 100); in != 1 || why != AddressFull {
		t.Errorf("%d from elsewhere, then %v", in, why)
	}
}

// Who is refused may stay to be told why, but not where a handshake would come before, nor
// when there are many.
func TestToldWhy(t *testing.T) {
	d, _ := open(Options{MaxConnections: 1, Listeners: map[string]Listener{"mqtts": {Dear: true}}})
	arrivals(d, home1, 1)
	if why, in := d.Arrive("mqtts", home1); why != NodeFull || in {
		t.Errorf("with TLS: %v, kept %v", why, in)
	}
	kept := 0
	for range 10_000 {
		if _, in := d.Arrive("mqtt", home1); in {
			kept++
		}
	}
	if kept != maxTold {
		t.Errorf("%d are kept", kept)
	}
	d.Depart("mqtt", home1, NodeFull)
	if _, in := d.Arrive("mqtt", home1); !in {
		t.Error("none is kept when one has gone")
	}
}

// Under pressure nobody comes in, and nobody has to go.
func TestPressed(t *testing.T) {
	var p Pressure
	d, _ := open(Options{Pressure: &p})
	arrivals(d, home1, 1)
	p.Set(Memory, Shed)
	if in, why := arrivals(d, home1, 10); in != 0 || why != Pressed {
		t.Errorf("%d let in, %v", in, why)
	}
	if why := d.Greet(nil, []byte("c")); why != Pressed {
		t.Errorf("CONNECT of one that came before: %v", why)
	}
	p.Set(Memory, None)
	if why := d.Greet(nil, []byte("c")); why != Admitted {
		t.Errorf("CONNECT afterwards: %v", why)
	}
	if in, _ := arrivals(d, home1, 10); in != 10 || d.Stats().Connections != 11 {
		t.Errorf("%d let in afterwards, %d are there", in, d.Stats().Connections)
	}
}

// A user's clients count when they are known, and what is wrong takes nothing from him.
func TestUsers(t *testing.T) {
	d, clock := open(Options{ConnectionsPerUser: 3, ConnectRatePerUser: 2, ConnectBurst: 2 * time.Second})
	for range 100 { // that claim to be him, and are not
		if why := d.Greet([]byte("ann"), []byte("c")); why != Admitted {
			t.Fatalf("CONNECT that claims a name: %v", why)
		}
	}
	enter := func(user string, n int) (in int, why Refusal) {
		for range n {
			if w := d.Enter(user, "c", home1); w == Admitted {
				in++
			} else {
				why = w
			}
		}
		return in, why
	}
	if in, why := enter("ann", 5); in != 3 || why != UserFull {
		t.Errorf("%d let in, then %v", in, why)
	}
	d.Leave("ann")
	if in, why := enter("ann", 5); in != 1 || why != UserFull {
		t.Errorf("%d when one has gone, then %v", in, why)
	}
	d.Leave("ann")
	if in, why := enter("ann", 5); in != 0 || why != UserTooFast {
		t.Errorf("%d at once after four, then %v", in, why)
	}
	if why := d.Greet([]byte("ann"), nil); why != UserTooFast {
		t.Errorf("CONNECT beyond the rate: %v", why)
	}
	if in, _ := enter("bob", 1); in != 1 {
		t.Error("another user is not let in")
	}
	if in, _ := enter("", 100); in != 100 {
		t.Errorf("%d of 100 nobodies are let in", in)
	}
	clock.pass(500 * time.Millisecond)
	if in, _ := enter("ann", 5); in != 1 {
		t.Errorf("%d half a second later", in)
	}
	for range 3 {
		d.Leave("ann")
	}
	d.Leave("bob")
	d.Leave("")
	clock.pass(time.Hour)
	d.Greet([]byte("ann"), nil) // who looks forgets
	d.Greet([]byte("bob"), nil)
	if n := d.Stats().Remembered.Users; n != 0 {
		t.Errorf("%d users are remembered", n)
	}
}

// Random comings and goings from more addresses than there is room for: nobody is let in
// beyond the bound, each that goes gives back what it took, and in the end nothing is left.
func TestCrowd(t *testing.T) {
	d, clock := open(Options{ConnectionsPerAddress: 4})
	d.addresses = newTable(2*tableShards, address.spent)
	random := rand.New(rand.NewPCG(7, 7))
	open := map[netip.Addr]int{}
	all, most := 0, 0
	for range 200_000 {
		clock.pass(time.Duration(random.Int64N(int64(time.Millisecond))))
		a := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
		if random.IntN(2) == 0 {
			switch why, _ := d.Arrive("mqtt", a); why {
			case Admitted:
				open[a]++
				all++
			case AddressFull:
				d.Depart("mqtt", a, why)
			default:
				t.Fatal(why)
			}
			most = max(most, all)
			if open[a] > 2*4 { // in its own entry and among the others
				t.Fatalf("%d from one address", open[a])
			}
		} else if open[a] > 0 {
			d.Depart("mqtt", a, Admitted)
			open[a]--
			all--
		}
		if n := d.Stats().Remembered.Addresses; n > 2*tableShards {
			t.Fatalf("%d addresses are remembered", n)
		}
	}
	if s := d.Stats(); s.Crowded == 0 || int(s.Connections) != all {
		t.Errorf("%d connections, %+v", all, s)
	}
	if limit := 4 * 3 * tableShards; most > limit {
		t.Errorf("%d at once, more than %d", most, limit)
	}
	for a, n := range open {
		for range n {
			d.Depart("mqtt", a, Admitted)
		}
	}
	for i := range d.addresses.shards {
		if s := &d.addresses.shards[i]; len(s.mu.entries) > 0 || s.mu.rest.conns != 0 {
			t.Errorf("left: %v, %+v", s.mu.entries, s.mu.rest)
		}
	}
}

// What is over is forgotten, however many there were: a table is no larger than twice what
// counts in it.
func TestTablesShrink(t *testing.T) {
	d, clock := open(Options{ConnectRatePerAddress: 1, ConnectBurst: time.Second})
	for k := range 200_000 {
		clock.pass(10 * time.Millisecond) // a hundred of them count
		a := netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)})
		if why, _ := d.Arrive("mqtt", a); why != Admitted {
			t.Fatal(why)
		}
		d.Depart("mqtt", a, Admitted)
	}
	if n := d.Stats().Remembered.Addresses; n > 2*tableShards*minShard {
		t.Errorf("%d addresses are remembered", n)
	}
}

// A ban holds for whom it names, until it ends.
func TestBans(t *testing.T) {
	now := time.Unix(1e9, 0)
	d, _ := open(Options{})
	ban := func(bans ...Ban) {
		t.Helper()
		if err := d.SetBans(bans, func() time.Time { return now }); err != nil {
			t.Fatal(err)
		}
	}
	ban(Ban{BanClient, "evil", now.Add(time.Minute)}, Ban{BanUser, "eve", time.Time{}},
		Ban{BanAddress, "192.0.2.0/31", now.Add(time.Minute)}, Ban{BanAddress, "2001:db8::/32", time.Time{}})
	far := netip.MustParseAddr("198.51.100.1")
	judge := func(user, id string, from netip.Addr) (s string) {
		why, _ := d.Arrive("mqtt", from)
		d.Depart("mqtt", from, why)
		return strings.Join([]string{why.String(), d.Greet([]byte(user), []byte(id)).String(), d.Enter(user, id, from).String()}, " ")
	}
	for _, c := range []struct {
		user, id string
		from     netip.Addr
		want     string
		after    string
	}{
		{"", "good", far, "none none none", "none none none"},
		{"", "evil", far, "none banned banned", "none none none"},
		{"eve", "good", far, "none banned banned", "none banned banned"},
		{"evil", "eve", far, "none none none", "none none none"},
		{"", "good", home1, "banned none banned", "none none none"},
		{"", "good", netip.MustParseAddr("::ffff:192.0.2.1"), "banned none banned", "none none none"},
		{"", "good", home2, "none none none", "none none none"},
		{"", "good", netip.MustParseAddr("2001:db8:1::1"), "banned none banned", "banned none banned"},
	} {
		now = time.Unix(1e9, 0)
		if got := judge(c.user, c.id, c.from); got != c.want {
			t.Errorf("user %q, client %q from %v: %s instead of %s", c.user, c.id, c.from, got, c.want)
		}
		now = now.Add(time.Minute)
		if got := judge(c.user, c.id, c.from); got != c.after {
			t.Errorf("user %q, client %q from %v after a minute: %s instead of %s", c.user, c.id, c.from, got, c.after)
		}
	}
	if !d.IsBanned("x", "eve", far) || d.IsBanned("x", "", far) {
		t.Error("who is there is judged otherwise")
	}
	if err := d.SetBans([]Ban{{BanAddress, "10.0.0.1/8", time.Time{}}}, time.Now); err == nil || !d.IsBanned("x", "eve", far) {
		t.Errorf("a ban that names nothing: %v", err)
	}
	ban()
	if d.IsBanned("x", "eve", far) {
		t.Error("banned by nobody")
	}
}

// A client identifier that connects too often is banned for a while, under the name of its
// user and no other; that is said once.
func TestFlapping(t *testing.T) {
	var log strings.Builder
	d, clock := open(Options{Flapping: 3, FlappingWindow: time.Minute, FlappingBan: 5 * time.Minute,
		Log: slog.New(slog.NewTextHandler(&log, nil))})
	connect := func(user, id string) Refusal {
		why := d.Greet([]byte(user), []byte(id))
		if why == Admitted {
			why = d.Enter(user, id, home1)
		}
		return why
	}
	for k := range 3 {
		if why := connect("ann", "c"); why != Admitted {
			t.Fatalf("connect %d: %v", k, why)
		}
	}
	for range 10 {
		if why := connect("ann", "c"); why != Flapping {
			t.Fatalf("one too many: %v", why)
		}
	}
	if why := connect("bob", "c"); why != Admitted {
		t.Errorf("the same identifier of another user: %v", why)
	}
	if why := connect("an", "nc"); why != Admitted {
		t.Errorf("names that run together: %v", why)
	}
	for range 10 {
		if why := connect("ann", ""); why != Admitted {
			t.Fatalf("without an identifier: %v", why)
		}
	}
	clock.pass(5*time.Minute - 1)
	if why := connect("ann", "c"); why != Flapping {
		t.Errorf("before the ban ends: %v", why)
	}
	clock.pass(1)
	for range 3 {
		if why := connect("ann", "c"); why != Admitted {
			t.Errorf("when the ban has ended: %v", why)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "client=c ") {
		t.Errorf("the log says %s", log.String())
	}
	for range 10 {
		clock.pass(20 * time.Second) // three in a minute
		if why := connect("slow", "c"); why != Admitted {
			t.Errorf("within the bound: %v", why)
		}
	}
}

// A client identifier for which there is no room is not watched: nobody is banned for what
// others do, and who is watched still is.
func TestFlappingWithoutRoom(t *testing.T) {
	d, clock := open(Options{Flapping: 3, FlappingWindow: time.Minute, FlappingBan: 5 * time.Minute})
	d.flaps = newTable(tableShards, d.calm)
	enter := func(id string, n int) (why Refusal) {
		for range n {
			if why = d.Greet(nil, []byte(id)); why == Admitted {
				why = d.Enter("", id, home1)
			}
		}
		return why
	}
	enter("watched", 1)
	banned := 0
	for k := range 1000 {
		if enter(fmt.Sprint("c", k), 10) == Flapping {
			banned++
		}
	}
	s := d.Stats()
	if n := s.Remembered.Clients; n > tableShards || banned >= n || banned < n/2 || s.Crowded == 0 {
		t.Errorf("%d banned, %d remembered, %d times without room", banned, n, s.Crowded)
	}
	if why := enter("watched", 3); why != Flapping {
		t.Errorf("who is watched: %v", why)
	}
	clock.pass(10 * time.Minute) // it is all over
	if why := enter("late", 4); why != Flapping {
		t.Errorf("when there is room again: %v", why)
	}
}
