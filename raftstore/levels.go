package raftstore

import (
	"strings"

	"dunlin/router"

	"github.com/google/btree"
)

// compareTopics orders topics by their levels: as bytes, but the slash before
// all others, so that a topic and all below it stand together. (U+0000 occurs in
// no topic [MQTT-1.5.4-2].)
func compareTopics(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			if a[i] == '/' || b[i] != '/' && a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return len(a) - len(b)
}

// walk calls look with the messages that f matches, in topic order, beginning
// after topic cursor, and with those at which it found that none is near, until
// look says no.
func walk(view *btree.BTreeG[retainedMessage], f router.Filter, cursor string, look func(r *retainedMessage, matches bool) bool) {
	if f.IsExact() {
		if r, ok := view.Get(retainedMessage{topic: f.Pattern()}); ok && compareTopics(cursor, r.topic) < 0 {
			look(&r, true)
		}
		return
	}
	s := newSeek(f)
	from := s.first
	if cursor != "" && compareTopics(cursor+"/", from) > 0 {
		from = cursor + "/" // the least topic after cursor
	}
	for more := true; more; {
		more = false
		view.AscendGreaterOrEqual(retainedMessage{topic: from}, func(r retainedMessage) bool {
			matches, next, done := s.next(r.topic)
			if matches {
				return look(&r, true)
			}
			from, more = next, !done
			if more {
				more = look(&r, false)
			}
			return false
		})
	}
}

// seek walks the topics that a filter matches, in their order, without looking
// at those between: first is where to begin, and next says, for the first topic
// found from there, whether it matches and else where to go on.
type seek struct {
	levels []string
	first  string // the levels before the first wildcard
}

func newSeek(f router.Filter) seek {
	s := seek{levels: strings.Split(f.Pattern(), "/")}
	literal := 0
	for literal < len(s.levels) && !isWildcard(s.levels[literal]) {
		literal++
	}
	s.first = strings.Join(s.levels[:literal], "/")
	return s
}

func isWildcard(level string) bool { return level == "+" || level == "#" }

// next judges topic t. If it does not match, no match stands before from; done
// says that none follows at all.
func (s seek) next(t string) (matches bool, from string, done bool) {
	if strings.HasPrefix(t, "$") && isWildcard(s.levels[0]) {
		return false, "%", false // past all $-topics [MQTT-4.7.2-1]
	}
	bump := -1 // end of the last level under a + before the mismatch
	for i, at := 0, 0; ; i++ {
		if i < len(s.levels) && s.levels[i] == "#" {
			return true, "", false
		}
		end := len(t)
		if n := strings.IndexByte(t[at:], '/'); n >= 0 {
			end = at + n
		}
		if i == len(s.levels) { // t lies below a match
			return past(t, at-1)
		}
		want, have := s.levels[i], t[at:end]
		if want == "+" {
			bump = end
		} else if c := strings.Compare(want, have); c > 0 {
			return false, t[:at] + want, false
		} else if c < 0 {
			return past(t, bump)
		}
		if end < len(t) {
			at = end + 1
			continue
		}
		switch rest := s.levels[i+1:]; { // t has no more levels
		case len(rest) == 0, len(rest) == 1 && rest[0] == "#":
			return true, "", false
		case isWildcard(rest[0]):
			return false, t + "/", false
		default:
			return false, t + "/" + rest[0], false
		}
	}
}

// past goes beyond t[:end] and all below it; nowhere if end is negative.
func past(t string, end int) (matches bool, from string, done bool) {
	if end < 0 {
		return false, "", true
	}
	return false, t[:end] + "\x01", false
}
