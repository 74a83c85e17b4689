package feed

import "time"

const (
	minPause = time.Millisecond
	maxPause = 512 * time.Millisecond
)

// Pause is how long a feed waits, from now on, before it sends again to one of so
// many peers, whose latest confirmation took a while: so that what is changed
// meanwhile goes together.
//
// A change goes to every peer, and a message costs both sides far more than a change
// in it. So the pause is in proportion to what the confirmation took, which says how
// busy the two are, and to the square of the number of peers: that many messages are
// between all of them. A quiet or small cluster has none that is worth a timer, and
// nobody who comes alone meets one, since it follows a message.
//
// Pauses of about the same length end at the same instants of the wall clock, a power
// of two of milliseconds apart: a node sends to its peers, and hears of them, in one
// waking. Nothing but that depends on the clock.
func Pause(now time.Time, took time.Duration, peers int) time.Duration {
	pause := min(min(took, maxPause)*time.Duration(peers*peers)/64, maxPause)
	if pause < minPause {
		return 0
	}
	slot := minPause
	for 2*slot <= pause {
		slot *= 2
	}
	return now.Add(pause).Truncate(slot).Sub(now)
}
