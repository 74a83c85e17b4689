package cluster

import (
	"sync"
	"time"
)

// strangers remembers what was told of them.
type strangers struct {
	sync.Mutex
	kinds map[string]*seldom // by why they were refused, of which there are few
}

// seldom lets one line of a kind through in a while. It is guarded by its owner.
type seldom struct {
	at   time.Time // of the latest; zero: never
	more int       // that were not told since
}

const quietFor = time.Minute // between two lines of a kind

// tells says whether a line is to be told now, and how many of its kind were not.
func (s *seldom) tells(now time.Time) (more int, tell bool) {
	if !s.at.IsZero() && now.Sub(s.at) < quietFor {
		s.more++
		return 0, false
	}
	more, s.more, s.at = s.more, 0, now
	return more, true
}

// stranger counts who is refused for why, and tells of it now and then (case 52).
func (c *Cluster) stranger(why, from string, err error) {
	c.count(why, from)
	c.told.Lock()
	if c.told.kinds == nil {
		c.told.kinds = make(map[string]*seldom)
	}
	s := c.told.kinds[why]
	if s == nil {
		s = new(seldom)
		c.told.kinds[why] = s
	}
	more, tell := s.tells(time.Now())
	c.told.Unlock()
	if tell {
		c.log.Warn("refused a stranger at the cluster port", "why", why, "from", from, "err", err, "suppressed", more)
	}
}

// count counts a stranger of whom something else tells.
func (c *Cluster) count(why, from string) {
	c.metrics.strangers.WithLabelValues(why).Inc()
	if c.opts.Refused != nil {
		c.opts.Refused(why, from)
	}
}
