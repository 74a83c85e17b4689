package router

import (
	"strings"
	"sync/atomic"
)

// trie holds the filters with wildcards by their levels. It is a radix tree: a
// branch stands for as many levels as all filters behind it share, and every
// node but the root has at least two entries, so that n filters make fewer than
// n nodes, however deep they are (case 15).
//
// Readers take no lock. A writer changes one place at a time, by replacing its
// entry; nodes change in place, but no entry below one ever changes what it
// stands for.
type trie struct {
	root  node
	count int // patterns; the writer's
}

// node has the entries for what may follow the levels that led to it.
type node struct {
	end    atomic.Pointer[entry] // nothing: the pattern ends here; its text is empty
	hash   atomic.Pointer[entry] // #
	plus   atomic.Pointer[entry] // + and perhaps more levels
	levels index                 // any other level and perhaps more, by that level
}

// place is where an entry is or would be: a pointer of a node, or a key of an
// index.
type place struct {
	slot  *atomic.Pointer[entry]
	index *index
	key   string
	hash  uint64
}

// rest is what is left of a pattern or topic after some levels: perhaps
// nothing, which is not the same as an empty level.
type rest struct {
	text string
	any  bool
}

func (n *node) place(r rest) place {
	if !r.any {
		return place{slot: &n.end}
	}
	level, _, _ := strings.Cut(r.text, "/")
	switch level {
	case "#":
		return place{slot: &n.hash}
	case "+":
		return place{slot: &n.plus}
	}
	return place{index: &n.levels, key: level, hash: hash(level)}
}

func (p place) load() *entry {
	if p.slot != nil {
		return p.slot.Load()
	}
	return p.index.find(p.hash, p.key)
}

func (p place) store(e *entry) {
	if p.slot != nil {
		p.slot.Store(e)
		return
	}
	p.index.put(p.hash, p.key, e)
}

// isEmpty says that n, a root, has no entry: no pattern ends there.
func (n *node) isEmpty() bool {
	return n.hash.Load() == nil && n.plus.Load() == nil && n.levels.isEmpty()
}

// size is the number of n's entries.
func (n *node) size() int {
	size := n.levels.count
	for _, slot := range []*atomic.Pointer[entry]{&n.end, &n.hash, &n.plus} {
		if slot.Load() != nil {
			size++
		}
	}
	return size
}

// each calls yield with each entry of n, ends telling the one whose pattern ends
// here. It may run beside a writer.
func (n *node) each(yield func(e *entry, ends bool) bool) {
	if e := n.end.Load(); e != nil && !yield(e, true) {
		return
	}
	for _, slot := range []*atomic.Pointer[entry]{&n.hash, &n.plus} {
		if e := slot.Load(); e != nil && !yield(e, false) {
			return
		}
	}
	for e := range n.levels.all {
		if !yield(e, false) {
			return
		}
	}
}

// edit replaces the entry of pattern by what change makes of it: change gets
// the entry, nil if there is none, and the text that an entry there has, and
// returns nil for none.
func (tr *trie) edit(pattern string, change func(e *entry, text string) *entry) {
	n, r := &tr.root, rest{pattern, true}
	var up place // where the branch to n is
	for {
		p := n.place(r)
		e := p.load()
		if e != nil && r.any {
			shared, mine, theirs := fork(r.text, e.text())
			if e.kind == kindBranch && !theirs.any {
				n, r, up = e.node(), mine, p
				continue
			}
			if e.kind == kindBranch || mine.any || theirs.any {
				if added := change(nil, mine.text); added != nil {
					both := &node{}
					both.place(mine).store(added)
					both.place(theirs).store(e.retext(theirs.text))
					p.store(newBranch(both, shared))
					tr.count++
				}
				return
			}
		}
		changed := change(e, r.text)
		if changed == e {
			return
		}
		p.store(changed)
		if e == nil {
			tr.count++
		}
		if changed == nil {
			tr.count--
			if n != &tr.root && n.size() == 1 {
				n.fold(up)
			}
		}
		return
	}
}

// fold replaces the branch at up, whose node n has one entry left, by that
// entry.
func (n *node) fold(up place) {
	label := up.load().text()
	for e, ends := range n.each {
		if !ends {
			label += "/" + e.text()
		}
		up.store(e.retext(label))
		return
	}
}

// fork compares two texts of at least one level whose first level is the same:
// the levels that they share, and what each has beside.
func fork(a, b string) (shared string, aRest, bRest rest) {
	end := 0 // of the shared levels
	for i := 0; ; i++ {
		aEnds, bEnds := i == len(a) || a[i] == '/', i == len(b) || b[i] == '/'
		if aEnds && bEnds {
			end = i
		}
		if i == len(a) || i == len(b) || a[i] != b[i] {
			break
		}
	}
	return a[:end], after(a, end), after(b, end)
}

// after is what follows the level of s that ends at end.
func after(s string, end int) rest {
	if end == len(s) {
		return rest{}
	}
	return rest{s[end+1:], true}
}

// all calls yield with each pattern and its entry until it says no. It may run
// beside a writer: a pattern that stands all the while is among them, perhaps
// twice. pattern is borrowed.
func (tr *trie) all(yield func(pattern []byte, e *entry) bool) {
	tr.root.all(nil, true, yield)
}

// all descends at most MaxLevels deep.
func (n *node) all(path []byte, top bool, yield func([]byte, *entry) bool) bool {
	for e, ends := range n.each {
		pattern := path
		if !top && !ends {
			pattern = append(pattern, '/')
		}
		if !ends {
			pattern = append(pattern, e.text()...)
		}
		if e.kind == kindBranch {
			if !e.node().all(pattern, false, yield) {
				return false
			}
		} else if !yield(pattern, e) {
			return false
		}
	}
	return true
}
