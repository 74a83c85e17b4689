package router

import "sync/atomic"

// Op is what a Change does.
type Op uint8

const (
	AddExact       Op = 1 + iota // Fingerprint
	RemoveExact                  // Fingerprint
	AddWildcard                  // Filter
	RemoveWildcard               // Filter
	SetGroup                     // Filter with its share prefix; Members on that node, 0 ends it
)

// Change is one step of a node's own routes, as fed to its peers. Each says what
// is from then on, not what is added: a run of changes that is applied again
// from anywhere in its middle leads to the same end.
type Change struct {
	Op          Op
	Fingerprint uint64 // of an exact filter's text: Topic.Hash
	Filter      string
	Members     uint32
}

// Bounds of the log. Beyond them the oldest changes are forgotten, and a peer
// that has not had them needs a full copy.
const (
	maxLogChanges = 1 << 17
	maxLogBytes   = 8 << 20 // of filters
)

// changeLog is the latest own changes, a ring. Only version may be called
// without the table's lock.
type changeLog struct {
	max, maxBytes int // max is a power of two, or 0: changes are only counted

	last  atomic.Uint64 // version of the newest change
	ring  []Change      // a power of two; that of version v is at v % len
	count int
	bytes int // of filters in the ring
}

func (l *changeLog) version() uint64 { return l.last.Load() }

func (l *changeLog) at(version uint64) *Change {
	return &l.ring[version&uint64(len(l.ring)-1)]
}

// keep sets the bound and forgets what was kept.
func (l *changeLog) keep(most int) {
	l.max, l.ring, l.count, l.bytes = most, nil, 0, 0
}

func (l *changeLog) add(c Change) {
	if l.max == 0 {
		l.last.Add(1)
		return
	}
	if l.count == len(l.ring) && l.count < l.max {
		old := l.ring
		l.ring = make([]Change, max(64, 2*len(old)))
		for i := range uint64(l.count) {
			v := l.version() - i
			*l.at(v) = old[v&uint64(len(old)-1)]
		}
	}
	for l.count > 0 && (l.count == len(l.ring) || l.bytes+len(c.Filter) > l.maxBytes) {
		oldest := l.at(l.version() - uint64(l.count) + 1)
		l.bytes -= len(oldest.Filter)
		*oldest = Change{}
		l.count--
	}
	*l.at(l.version() + 1) = c
	l.count++
	l.bytes += len(c.Filter)
	l.last.Add(1)
}

// since appends at most max changes after version to dst; ok is false if the
// log does not reach back to it, or version never was.
func (l *changeLog) since(version uint64, max int, dst []Change) (out []Change, reached uint64, ok bool) {
	last := l.version()
	if version > last || last-version > uint64(l.count) {
		return dst, version, false
	}
	for version < last && max > 0 {
		version++
		max--
		dst = append(dst, *l.at(version))
	}
	return dst, version, true
}
