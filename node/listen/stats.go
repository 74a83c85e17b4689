package listen

import "sync/atomic"

// Stats are counters since the start, summed over the loops, except Open, Opening and Held.
type Stats struct {
	Accepted     uint64 // connections the Handler took
	Refused      uint64 // connections closed at once: by the Gate or the Handler, or for want of a descriptor
	Open         uint64 // connections now
	BytesIn      uint64
	BytesOut     uint64
	Turns        uint64 // turns of a loop
	Reads        uint64 // calls that read from a connection
	Flushes      uint64 // calls that wrote to a connection
	Mail         uint64 // posted values handed over
	Panics       uint64 // panics of the Handler, survived
	AcceptErrors uint64
	Slow         uint64 // connections closed by MaxUnsent or SendTimeout
	Held         uint64 // bytes of output and of input that connections hold now
	Crowded      uint64 // connections closed by MaxHeld

	Opening      uint64 // connections now whose Layers are not ready; they are not in Open
	Unopened     uint64 // connections that ended before their Layers were ready, those of the next two included
	OpenTimeouts uint64 // by OpenTimeout
	Shed         uint64 // by MaxOpening
}

// counters are one loop's share of Stats; written by the loop, read by anyone.
type counters struct {
	accepted, refused, open, bytesIn, bytesOut, turns, reads, flushes, mail, panics, acceptErrors, slow, held, crowded,
	opening, unopened, openTimeouts, shed atomic.Uint64
}

func (c *counters) addTo(s *Stats) {
	s.Accepted += c.accepted.Load()
	s.Refused += c.refused.Load()
	s.Open += c.open.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	s.Turns += c.turns.Load()
	s.Reads += c.reads.Load()
	s.Flushes += c.flushes.Load()
	s.Mail += c.mail.Load()
	s.Panics += c.panics.Load()
	s.AcceptErrors += c.acceptErrors.Load()
	s.Slow += c.slow.Load()
	s.Held += c.held.Load()
	s.Crowded += c.crowded.Load()
	s.Opening += c.opening.Load()
	s.Unopened += c.unopened.Load()
	s.OpenTimeouts += c.openTimeouts.Load()
	s.Shed += c.shed.Load()
}
