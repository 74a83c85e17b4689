package raftstore

// once remembers the latest messages of QoS 0 that have a name: wills, which are
// published again under it whenever it is not known whether they were (E5). It is a
// leader's, in memory, so that what comes again by a new leader of the will's shard is
// recognised, and by a new leader here it is not: that much is not promised of
// QoS 0.
type once struct {
	seen   map[namedTransient]struct{}
	latest []namedTransient // a ring
	oldest int
}

type namedTransient struct {
	origin, seq uint64
	to          string // of a share group's, the member
}

// maxOnce is how many are remembered.
const maxOnce = 1024

// first says whether n was not heard of, and remembers it.
func (o *once) first(n namedTransient) bool {
	if _, ok := o.seen[n]; ok {
		return false
	}
	if o.seen == nil {
		o.seen = make(map[namedTransient]struct{})
	}
	o.seen[n] = struct{}{}
	if len(o.latest) < maxOnce {
		o.latest = append(o.latest, n)
		return true
	}
	delete(o.seen, o.latest[o.oldest])
	o.latest[o.oldest] = n
	o.oldest = (o.oldest + 1) % maxOnce
	return true
}
