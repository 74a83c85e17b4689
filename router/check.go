package router

import (
	"fmt"
	"slices"
	"strings"
)

// check verifies the structure of the whole table, nil if it is sound:
//
//  1. every entry of an index is found by its key, once; counts are right
//  2. a node of the trie other than the root has two entries at least, and no
//     entry is a many that one party would do for
//  3. a roster finds each of its subscribers, and has each once
//  4. the own fingerprints are those of the exact patterns that this node wants, and
//     every fingerprint is found, in an array that is neither crowded nor sparse
//  5. groups are listed, and are in the set of their pattern, and not empty
//
// The caller holds the lock.
func (tb *Table) checkLocked() error {
	inSets := map[*Group]string{}
	want := map[uint64]int{}
	if err := tb.exact.check(func(e *entry) error {
		if e.isOwn() {
			want[fingerprint(e.text())]++
		}
		return e.check(e.text(), inSets)
	}); err != nil {
		return fmt.Errorf("exact: %w", err)
	}
	patterns := 0
	if err := tb.wild.root.check(nil, true, &patterns, inSets); err != nil {
		return fmt.Errorf("trie: %w", err)
	}
	if patterns != tb.wild.count {
		return fmt.Errorf("trie: %d patterns, counted %d", patterns, tb.wild.count)
	}
	for fp := range tb.mu.own.all {
		if want[fp] != 1+tb.mu.twins[fp] {
			return fmt.Errorf("own fingerprint %x of %d filters, counted %d", fp, want[fp], 1+tb.mu.twins[fp])
		}
		delete(want, fp)
	}
	if len(want) > 0 {
		return fmt.Errorf("%d filters without own fingerprint", len(want))
	}
	if err := tb.groups.check(func(e *entry) error {
		g := e.group()
		pattern, ok := inSets[g]
		delete(inSets, g)
		if !ok || pattern != g.filter.Pattern() || g.isEmpty() {
			return fmt.Errorf("group %q of pattern %q, in a set %v", g.filter, pattern, ok)
		}
		return g.check()
	}); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if len(inSets) > 0 {
		return fmt.Errorf("%d groups are not listed", len(inSets))
	}
	for _, f := range []*fingerprints{&tb.remote, &tb.mu.own} {
		if err := f.check(); err != nil {
			return err
		}
	}
	return nil
}

func (ix *index) check(each func(*entry) error) error {
	d := ix.dir.Load()
	if d == nil {
		if ix.count != 0 {
			return fmt.Errorf("no directory, counted %d", ix.count)
		}
		return nil
	}
	count, deepest := 0, 0
	for i := 0; i < len(d.segs); {
		seg := d.segs[i].Load()
		span := 1 << (d.bits - seg.depth)
		if i%span != 0 {
			return fmt.Errorf("segment of depth %d at %d of 2^%d", seg.depth, i, d.bits)
		}
		for j := range span {
			if d.segs[i+j].Load() != seg {
				return fmt.Errorf("segment of depth %d is not at %d of 2^%d", seg.depth, i+j, d.bits)
			}
		}
		if seg.depth == d.bits {
			deepest++
		}
		here := 0
		for e := range seg.all {
			here++
			if ix.find(hash(e.key()), e.key()) != e {
				return fmt.Errorf("key %q does not find its entry", e.key())
			}
			if err := each(e); err != nil {
				return err
			}
		}
		if here != seg.count {
			return fmt.Errorf("segment has %d entries, counted %d", here, seg.count)
		}
		marks := 0
		for j := range seg.buckets {
			if seg.buckets[j].tags.Load()&spillMark != 0 {
				marks++
			}
		}
		if marks != seg.spilled {
			return fmt.Errorf("segment has %d marks, counted %d", marks, seg.spilled)
		}
		count += here
		i += span
	}
	if count != ix.count || deepest != d.deepest {
		return fmt.Errorf("%d entries, counted %d; %d deepest segments, counted %d", count, ix.count, deepest, d.deepest)
	}
	return nil
}

func (n *node) check(path []string, top bool, patterns *int, inSets map[*Group]string) error {
	if !top && n.size() < 2 {
		return fmt.Errorf("node at %q has %d entries", path, n.size())
	}
	for e, ends := range n.each {
		at := path
		if !ends {
			at = append(slices.Clip(path), e.text())
		}
		if e.whole {
			return fmt.Errorf("entry at %q is keyed by its whole text", at)
		}
		var err error
		if e.kind == kindBranch {
			err = e.node().check(at, false, patterns, inSets)
		} else {
			*patterns++
			err = e.check(strings.Join(at, "/"), inSets)
		}
		if err != nil {
			return err
		}
	}
	return n.levels.check(func(*entry) error { return nil })
}

// check verifies what e, not a branch, holds for pattern.
func (e *entry) check(pattern string, inSets map[*Group]string) error {
	if e.kind != kindMany {
		return nil
	}
	s := e.set()
	if s.settled(e, "", e.whole) != e {
		return fmt.Errorf("%q keeps a set for one party or none", pattern)
	}
	if l := s.groups.Load(); l != nil {
		for g := range l.all {
			if inSets[g] != "" || l.slots[g.at].Load() != g {
				return fmt.Errorf("group %q is in two places", g.filter)
			}
			inSets[g] = pattern
		}
	}
	if r := s.roster.Load(); r != nil {
		live := 0
		for who := range r.all {
			live++
			if i, ok := r.find(who); !ok || r.seats[i].who.Load() != uint64(who) {
				return fmt.Errorf("%q does not find subscriber %d", pattern, who)
			}
		}
		if live != r.live() || live == 0 {
			return fmt.Errorf("%q has %d subscribers, counted %d", pattern, live, r.live())
		}
	}
	return nil
}

func (g *Group) check() error {
	b := g.locals.Load()
	if int(b.used.Load()) != len(g.seats) {
		return fmt.Errorf("group %q has %d members, counted %d", g.filter, len(g.seats), b.used.Load())
	}
	for who, i := range g.seats {
		if b.members[i].Load().who != who {
			return fmt.Errorf("group %q does not find member %d", g.filter, who)
		}
	}
	return nil
}

func (f *fingerprints) check() error {
	live := int64(0)
	if all := f.stripes.Load(); all != nil {
		for i := range all {
			if err := all[i].check(); err != nil {
				return fmt.Errorf("stripe %d of fingerprints: %w", i, err)
			}
			live += int64(all[i].live)
		}
	}
	if live != f.live.Load() {
		return fmt.Errorf("%d fingerprints, counted %d", live, f.live.Load())
	}
	return nil
}

func (st *stripe) check() error {
	words := st.words.Load()
	used, live := 0, 0
	for i := range words.len() {
		switch w := words.at(i).Load(); w {
		case 0:
			continue
		case erased:
		default:
			live++
			if at, found := words.locate(w); !found || at != i {
				return fmt.Errorf("word %x is found %v, at %d instead of %d", w, found, at, i)
			}
		}
		used++
	}
	if used != int(st.used) || live != int(st.live) {
		return fmt.Errorf("%d words are used, %d live, counted %d and %d", used, live, st.used, st.live)
	}
	if words != nil && (crowded(used, words.len()) || sparse(live, words.len())) {
		return fmt.Errorf("%d words for %d, of which %d live", words.len(), used, live)
	}
	return nil
}
