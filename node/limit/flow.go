package limit

import "time"

// Flow is how fast one client may send, in packets and in bytes. Beyond a second's worth
// at once it has to wait for as long as what it has sent takes at these rates. The zero
// Flow lets everything pass. It is constant once used.
type Flow struct {
	Messages int64 // a second; 0: any number
	Bytes    int64 // a second; 0: any number

	// Patience is how long a client may go on sending too fast while it is held back. 0:
	// for ever.
	Patience time.Duration
}

// flowBurst is what a client may be ahead of its rates.
const flowBurst = time.Second

// On says whether anything is limited: where it is not, nobody needs an Account.
func (f *Flow) On() bool { return f.Messages > 0 || f.Bytes > 0 }

// Account is what one client has sent, seen as time: when all of that would have been sent
// at the rates of its Flow. The zero Account is of who has sent nothing.
type Account struct {
	messages, bytes time.Duration
	since           time.Duration // when it was held back first without having been idle since; 0: it was not
}

// Excess says which rate is exceeded.
type Excess uint8

// What Flow.Excess may find.
const (
	NoExcess Excess = iota
	MessageExcess
	ByteExcess
)

// Charge counts a packet of size bytes, after it was taken: one that is larger than a
// second's worth passes too, and is paid for by those that follow.
func (f *Flow) Charge(a *Account, size int, now time.Duration) {
	if a.messages <= now && a.bytes <= now {
		a.since = 0
	}
	if f.Messages > 0 {
		a.messages = max(a.messages, now) + flowCost(1, f.Messages)
	}
	if f.Bytes > 0 {
		a.bytes = max(a.bytes, now) + flowCost(int64(size), f.Bytes)
	}
}

// flowCost is what n of something take at so many a second. n is at most the size of a packet,
// so that nothing overflows.
func flowCost(n, rate int64) time.Duration { return time.Duration(n * int64(time.Second) / rate) }

// Excess says whether the client has to wait before anything more is taken of it.
func (f *Flow) Excess(a *Account, now time.Duration) Excess {
	switch {
	case a.messages-now > flowBurst:
		return MessageExcess
	case a.bytes-now > flowBurst:
		return ByteExcess
	}
	return NoExcess
}

// Hold notes that the client is held back, and says whether that has lasted for longer
// than Flow's patience: it never once paused for as long as it was ahead.
func (f *Flow) Hold(a *Account, now time.Duration) (tooLong bool) {
	if a.since == 0 {
		a.since = max(now, 1)
	}
	return f.Patience > 0 && now-a.since >= f.Patience
}
