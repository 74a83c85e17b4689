package raftstore

import "dunlin/router"

// recent are the digests after the latest entries that a replica applied, so that
// replicas which are never at one index at one time can be compared (D6).
type recent struct {
	ring [512]struct{ index, digest uint64 }
	next int
}

func (t *recent) note(index, digest uint64) {
	t.ring[t.next].index, t.ring[t.next].digest = index, digest
	t.next = (t.next + 1) % len(t.ring)
}

func (t *recent) at(index uint64) (digest uint64, known bool) {
	for i := range t.ring {
		if t.ring[i].index == index && index > 0 {
			return t.ring[i].digest, true
		}
	}
	return 0, false
}

// DigestAt is the digest that this node's replica of sh had after the entry with
// that index, if that is one of the latest it applied; and where it stands now. A
// replica whose Moment has no Entry has applied none since a snapshot.
func (s *Store) DigestAt(sh router.ShardID, index uint64) (digest uint64, known bool, now Moment) {
	read := make(chan struct{})
	shard := s.shards[sh]
	if !shard.call(func() {
		defer close(read)
		now = shard.moment()
		if r, ok := shard.driver.(*replica); ok {
			digest, known = r.recent.at(index)
		}
	}) {
		return 0, false, now
	}
	<-read
	return digest, known, now
}
