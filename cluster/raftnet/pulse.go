package raftnet

import (
	"time"

	"github.com/hashicorp/raft"
)

// pulse says when a caller lets its peer hear of this node although it has nothing
// to say: a beat. Who follows a leader must notice within two BeatIntervals that it
// is gone, and for anybody else that takes no part in an election the Silence is
// time enough. In a cluster of N nodes there are N*(N-1) callers, of which all but
// two a shard or so are of that kind.
type pulse struct {
	fast, slow time.Duration
	now        func() int64 // Net time
	watched    func() bool  // whether the peer must notice soon
	append     func([]byte) []byte
}

// until is how long it is to the next beat. All of a node's are due at the same
// moments, so that it wakes once for all its peers.
func (p *pulse) until(soon bool) time.Duration {
	interval := p.slow
	if soon {
		interval = p.fast
	}
	return interval - time.Duration(p.now())%interval
}

// watchedFor is for how long after a heartbeat to a voter its node is one that must
// notice soon. A leader sends several meanwhile.
const watchedFor = 2 * time.Second

func (c *Caller) pulse() *pulse {
	return &pulse{
		fast: c.net.opts.BeatInterval,
		slow: c.net.opts.IdleInterval,
		now:  c.net.detector.now,
		watched: func() bool {
			at := c.led.Load()
			return at != 0 && c.net.detector.now()-at < int64(watchedFor)
		},
		append: func(dst []byte) []byte {
			if !c.net.used.Load() {
				return dst
			}
			return appendBeat(dst, nil)
		},
	}
}

// leads notes that this node leads a group in which to votes, if it does.
func (t *Transport) leads(to raft.ServerID) {
	c := t.net.caller(string(to))
	if c == nil {
		return
	}
	if r := t.watched.Load(); r != nil {
		voter := false
		for _, s := range r.GetConfiguration().Configuration().Servers {
			voter = voter || s.ID == to && s.Suffrage == raft.Voter
		}
		if !voter {
			return
		}
	}
	c.led.Store(t.net.detector.now())
}
