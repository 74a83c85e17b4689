package raftstore

import "dunlin/session"

// contention damps clients that fight over one identifier, each of which takes the
// session from the other (case 36): a takeover costs the shard a handover and a
// commit, and the owners a connection. Who holds the identifier keeps it during
// the cool-down. It is the leader's memory: a new one counts anew.
type contention struct {
	most    int                     // takeovers in a window, beyond which an identifier cools down; 0: no bound
	began   session.Time            // of the window that takeovers are counted in
	counts  map[string]int          // by client identifier
	cooling map[string]session.Time // until when takeovers are refused
}

// Beyond maxContended identifiers at once, the next are not watched.
const (
	contentionWindow = session.Time(10e9)
	coolDown         = session.Time(10e9)
	maxContended     = 4096
)

func newContention(most int) contention {
	return contention{most: most, counts: make(map[string]int), cooling: make(map[string]session.Time)}
}

// refuses says whether a connection that wants to take the identifier from another
// is to be refused, and counts it.
func (c *contention) refuses(clientID string, now session.Time) bool {
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
	if until, cools := c.cooling[clientID]; cools && now < until {
		return true
	}
	n, watched := c.counts[clientID]
	if n++; watched || len(c.counts) < maxContended {
		c.counts[clientID] = n
	}
	if n <= c.most || len(c.cooling) == maxContended {
		return false
	}
	delete(c.counts, clientID)
	c.cooling[clientID] = now + coolDown
	return true
}
