package limit

import (
	"errors"
	"net/netip"
	"time"

	"dunlin/node/auth"
)

// Logins stands before what checks who a client is, and holds those off that were wrong
// too often (case 44): a user from one address first, for longer and longer; then the
// address, of which so many logins may fail in a minute; never a user wherever he is, or
// anybody could lock him out. One that is under way counts as one that may fail, so that
// of a storm none is judged before the first have their answers: it waits for them.
type Logins struct {
	door *Door
	next auth.Authenticator
}

// NewLogins puts a Door before an authenticator.
func NewLogins(d *Door, next auth.Authenticator) Logins { return Logins{d, next} }

// pair is what is remembered of an address and a user who failed to log in there.
type pair struct {
	until  int64  // it is held off
	failed int64  // the last time
	fails  uint32 // in a row
	logins uint32 // under way
}

const (
	firstBackOff = time.Second
	// maxLogins bounds the logins under way from one address: no more of what checks
	// passwords for all.
	maxLogins = 64
)

// forgets says whether a pair is as good as new: what failed is long ago.
func (d *Door) forgets(p pair, now int64) bool {
	return p.logins == 0 && (p.fails == 0 || now-p.failed > 2*int64(d.o.MaxBackOff))
}

// Authenticate implements auth.Authenticator.
func (l Logins) Authenticate(r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	d, from := l.door, r.Remote.Addr()
	if d.pairs == nil && d.rates.failures.interval == 0 || !r.Connect.HasUsername && !r.Connect.HasPassword || d.trusts(from) {
		return l.next.Authenticate(r, later)
	}
	a := attempt{door: d, from: from}
	a.name(r.Connect.Username)
	switch why := a.begin(d.now()); {
	case why == Admitted:
		who, err := l.judge(a, r, later)
		if !errors.Is(err, auth.ErrLater) {
			a.end(err)
		}
		return who, err
	case why == BackOff && l.wait(a, r, later):
		return nil, auth.ErrLater
	default:
		d.count(why)
		return nil, auth.ErrTooOften
	}
}

// judge has a login judged that has begun. If that is done at once, the caller ends it.
func (l Logins) judge(a attempt, r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	return l.next.Authenticate(r, func(who *auth.Principal, err error) {
		a.end(err)
		later(who, err)
	})
}

// wait has a login judged when one of the same pair has its answer, unless the pair is held
// off or there is no room.
func (l Logins) wait(a attempt, r auth.Request, later func(*auth.Principal, error)) bool {
	if heldOff, _ := a.state(); heldOff {
		return false
	}
	r.Connect = r.Connect.Clone()
	c := r.Connect
	size := len(c.ClientID) + len(c.Username) + len(c.Password) + len(c.AuthData) + len(c.Properties) +
		len(c.Will.Topic) + len(c.Will.Payload) + len(c.Will.Properties)
	if !a.door.waiting.add(a.pair, waiting{size, func() bool { return l.again(a, r, later) }}) {
		return false
	}
	if !a.isUnderWay() { // the last had its answer before this one waited
		a.wakeOthers()
	}
	return true
}

// again judges a login that has waited, unless it is to wait on.
func (l Logins) again(a attempt, r auth.Request, later func(*auth.Principal, error)) (wait bool) {
	switch why := a.begin(a.door.now()); why {
	case Admitted:
		if who, err := l.judge(a, r, later); !errors.Is(err, auth.ErrLater) {
			a.settle(err) // who has woken this one goes on with the next
			later(who, err)
		}
		return false
	case BackOff:
		if heldOff, _ := a.state(); !heldOff {
			return true
		}
		fallthrough
	default:
		a.door.count(why)
		later(nil, auth.ErrTooOften)
		return false
	}
}

// attempt is a login under way.
type attempt struct {
	door  *Door
	from  netip.Addr
	pair  uint64 // of the address and who it is to be, if it has a
	named bool   // name
}

// name has the attempt count for a user as well.
func (a *attempt) name(user []byte) {
	if d := a.door; d.pairs != nil {
		a.pair, a.named = d.pairs.keyOfPair(a.from, user), true
	}
}

func (a attempt) begin(now int64) Refusal {
	if !a.beginPair(now) {
		return BackOff
	}
	if !a.beginAddress(now) {
		a.endPair(auth.ErrBusy, now)
		return AddressBackOff
	}
	return Admitted
}

// beginPair holds a pair off that has failed too often, or would if those under way fail;
// after that it may try once at a time.
func (a attempt) beginPair(now int64) bool {
	d := a.door
	if !a.named {
		return true
	}
	p, at := d.pairs.take(a.pair, now)
	defer func() { at.put(p, now) }()
	if !at.alone {
		return true // what pairs without room share would hold off whoever is right; the address still counts
	}
	if d.forgets(p, now) {
		p = pair{}
	}
	if p.until > now || int(p.logins) >= max(d.o.FailedLogins-int(p.fails), 1) {
		return false
	}
	p.logins++
	return true
}

// state says whether the pair is held off, and whether some of it are under way.
func (a attempt) state() (heldOff, underWay bool) {
	now := a.door.now()
	p, at := a.door.pairs.find(a.pair)
	defer at.put(p, now)
	return at.there && p.until > now, at.there && p.logins > 0
}

// isUnderWay says whether an answer for the pair is to come.
func (a attempt) isUnderWay() bool {
	_, underWay := a.state()
	return underWay
}

// wakeOthers has those of the pair judged that waited.
func (a attempt) wakeOthers() { a.door.waiting.wake(a.pair, a.isUnderWay) }

// beginAddress wants room for all that are under way to fail.
func (a attempt) beginAddress(now int64) bool {
	d := a.door
	if d.rates.failures.interval == 0 {
		return true
	}
	x, p := d.addresses.take(d.addresses.keyOf(a.from), now)
	defer func() { p.put(x, now) }()
	if x.logins >= maxLogins || !x.failures.has(d.rates.failures, int64(x.logins)+1, now) {
		return false
	}
	x.logins++
	return true
}

// end counts how it went, and lets those try that have waited for it.
func (a attempt) end(err error) {
	a.settle(err)
	if a.named {
		a.wakeOthers()
	}
}

// settle counts how it went. Of one that could not be judged nothing is known.
func (a attempt) settle(err error) {
	now := a.door.now()
	a.endPair(err, now)
	a.endAddress(err, now)
}

func (a attempt) endAddress(err error, now int64) {
	d := a.door
	if d.rates.failures.interval == 0 {
		return
	}
	x, p := d.addresses.find(d.addresses.keyOf(a.from))
	x.logins--
	if errors.Is(err, auth.ErrBadCredentials) {
		x.failures = x.failures.without(d.rates.failures, now)
	}
	p.put(x, now)
}

func (a attempt) endPair(err error, now int64) {
	d := a.door
	if !a.named {
		return
	}
	p, at := d.pairs.find(a.pair)
	defer func() { at.put(p, now) }()
	if !at.there {
		return // it found no room
	}
	p.logins -= min(p.logins, 1) // it may have found room only since
	switch {
	case err == nil:
		p.fails, p.until = 0, 0
	case errors.Is(err, auth.ErrBadCredentials):
		p.fails++
		p.failed = now
		if n := int(p.fails) - d.o.FailedLogins; n >= 0 {
			p.until = now + int64(min(firstBackOff<<min(n, 30), d.o.MaxBackOff))
		}
	}
}
