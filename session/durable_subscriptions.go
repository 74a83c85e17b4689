package session

import (
	"encoding/binary"
	"hash/fnv"

	"dunlin/router"
)

// A packed subscription is the filter's length, its text, a byte of options and
// the subscription identifier. They lie one behind the other in Durable.subs.
const (
	optQoS       = 0x03
	optNoLocal   = 0x04
	optRAP       = 0x08
	optHandling  = 0x30
	handlingBits = 4
)

// Subscribe adds or replaces a subscription [MQTT-3.8.4-3], and begins its replay if
// it wants one.
func (d *Durable) Subscribe(s Subscription) (existed bool) {
	text := s.Filter.String()
	from, to := d.findFilter(text)
	b := make([]byte, 0, len(d.subs)+len(text)+8)
	b = append(append(b, d.subs[:from]...), d.subs[to:]...)
	d.subs = string(appendSubscription(b, text, s))
	if existed = to > 0; s.WantsRetained(existed) {
		d.beginReplay(s.Filter)
	}
	return existed
}

// Unsubscribe removes one.
func (d *Durable) Unsubscribe(f router.Filter) (existed bool) {
	from, to := d.findFilter(f.String())
	if to == 0 {
		return false
	}
	d.subs = d.subs[:from] + d.subs[to:]
	d.EndReplay(f)
	return true
}

// Subscriptions calls yield with each, in the order in which they were made.
func (d *Durable) Subscriptions(yield func(Subscription) bool) {
	for b := d.subs; len(b) > 0; {
		text, opt, id, rest := cutSubscription(b)
		b = rest
		f, err := router.ParseFilter([]byte(text))
		if err != nil {
			panic("session: stored filter: " + err.Error())
		}
		if !yield(Subscription{
			Filter: f,
			Options: router.Options{
				QoS: opt & optQoS, NoLocal: opt&optNoLocal != 0,
				RetainAsPublished: opt&optRAP != 0, ID: id,
			},
			RetainHandling: opt & optHandling >> handlingBits,
		}) {
			return
		}
	}
}

// CountSubscriptions counts them.
func (d *Durable) CountSubscriptions() (n int) {
	for b := d.subs; len(b) > 0; n++ {
		_, _, _, b = cutSubscription(b)
	}
	return n
}

// HashSubscriptions is a hash of them, in that order: the same for equal ones, on
// every node and release with the same durableVersion.
func (d *Durable) HashSubscriptions() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(d.subs))
	return h.Sum64()
}

// findFilter finds the packed subscription with that text; to is 0 if there is
// none.
func (d *Durable) findFilter(text string) (from, to int) {
	for b := d.subs; len(b) > 0; {
		t, _, _, rest := cutSubscription(b)
		if t == text {
			return len(d.subs) - len(b), len(d.subs) - len(rest)
		}
		b = rest
	}
	return 0, 0
}

func appendSubscription(b []byte, text string, s Subscription) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	b = append(b, text...)
	opt := s.Options.QoS&optQoS | s.RetainHandling<<handlingBits&optHandling
	if s.Options.NoLocal {
		opt |= optNoLocal
	}
	if s.Options.RetainAsPublished {
		opt |= optRAP
	}
	b = append(b, opt)
	return binary.AppendUvarint(b, uint64(s.Options.ID))
}

// cutSubscription reads the first of b, which appendSubscription wrote.
func cutSubscription(b string) (text string, opt byte, id uint32, rest string) {
	n, b := cutString(b)
	text, opt, b = b[:n], b[n], b[n+1:]
	v, b := cutString(b)
	return text, opt, uint32(v), b
}

// cutString is binary.Uvarint for a string that is known to be well-formed.
func cutString(b string) (v uint64, rest string) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		v |= uint64(b[i]&0x7F) << shift
		if b[i] < 0x80 {
			return v, b[i+1:]
		}
	}
}

// validSubscriptions says whether b is a sequence of packed subscriptions.
func validSubscriptions(b []byte) bool {
	r := snapReader{b: b}
	for len(r.b) > 0 {
		n := r.count(1)
		if n > len(r.b) {
			return false
		}
		if _, err := router.ParseFilter(r.b[:n]); err != nil {
			return false
		}
		r.b = r.b[n:]
		if r.byte()&optQoS == 3 {
			return false
		}
		r.uvarint()
	}
	return !r.bad
}
