package lan

import "time"

// Rule is what happens to packets from one port to another. The zero value
// passes them on at once.
type Rule struct {
	Cut       bool          // nothing passes
	Delay     time.Duration // of each packet
	Jitter    time.Duration // up to this more, evenly spread; packets stay in order
	Loss      float64       // probability that a packet is dropped
	Duplicate float64       // probability that it goes twice
	Reorder   float64       // probability that it goes at once, past those that are delayed
	Rate      int           // bytes per second, 0: without limit
}

// backlog is how much a link of limited rate may be behind before it drops.
const backlog = 500 * time.Millisecond
