package raftstore

import (
	"hash/maphash"

	"dunlin/session"
)

// contention damps clients that fight over one identifier, each of which takes the
// session from the other (case 36): a takeover costs the shard a handover and a
// commit, and the owners a connection. Who holds the identifier keeps it during
// the cool-down. It is the leader's memory: a new one counts anew.
type contention struct {
	most    int                     // takeovers in a window, beyond which an identifier cools down; 0: no bound
	began   session.Time            // of the window that takeovers are counted in
	counts  map[uint64]int          // by the digest of a client identifier, which may be long
	cooling map[uint64]session.Time // until when takeovers are refused
	seed    maphash.Seed            // of digests: nobody chooses identifiers that share one
}

// Beyond maxContended identifiers at once, the next are not watched.
const (
	contentionWindow = session.Time(10e9)
	coolDown         = session.Time(10e9)
	maxContended     = 4096
)

func newContention(most int) contention {
	return contention{most: most, counts: make(map[uint64]int), cooling: make(map[uint64]session.Time), seed: maphash.MakeSeed()}
}

// refuses says whether a connection that wants to take the identifier from another
// is to be refused, and counts it.
func (c *contention) refuses(clientID []byte, now session.Time) bool {
	if c.most == 0 {
		return false
	}
	if now-c.began >= contentionWindow {
		c.began = now
		clear(c.counts)
		for id, until := range c.cooling {
			if until <= now {
				delete(c.cooling, id)
			}
		}
	}
	key := maphash.Bytes(c.seed, clientID)
	if until, cools := c.cooling[key]; cools && now < until {
		return true
	}
	n, watched := c.counts[key]
	if n++; watched || len(c.counts) < maxContended {
		c.counts[key] = n
	}
	if n <= c.most || len(c.cooling) == maxContended {
		return false
	}
	delete(c.counts, key)
	c.cooling[key] = now + coolDown
	return true
}
