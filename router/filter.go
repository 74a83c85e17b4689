package router

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ErrFilterInvalid says that bytes are no topic filter. ErrFilterTooDeep and
// ErrShareInvalid are ones too: more than MaxLevels levels, and a $share
// without a proper group or filter.
var (
	ErrFilterInvalid = errors.New("router: invalid topic filter")
	ErrFilterTooDeep = fmt.Errorf("%w: more than %d levels", ErrFilterInvalid, MaxLevels)
	ErrShareInvalid  = fmt.Errorf("%w: malformed share group", ErrFilterInvalid)
)

const sharePrefix = "$share/"

// Filter is a valid topic filter, with its share group if it names one
// ($share/{group}/{filter}). Only ParseFilter makes one. Filters are equal (==)
// if the client wrote the same text.
type Filter struct {
	text string
	at   uint32 // where the pattern begins in text; 0 if not shared
	wild bool   // the pattern has a wildcard
}

// ParseFilter checks and splits b, which it copies. A wildcard stands alone in its
// level [MQTT-4.7.1-2], # in the last one [MQTT-4.7.1-1]; a share group has a
// name without wildcards, and a filter of its own [MQTT-4.8.2-1, -2].
func ParseFilter(b []byte) (Filter, error) {
	if len(b) > MaxBytes {
		return Filter{}, ErrFilterInvalid
	}
	at := 0
	if bytes.HasPrefix(b, []byte(sharePrefix)) {
		end := bytes.IndexByte(b[len(sharePrefix):], '/')
		if end <= 0 || bytes.ContainsAny(b[len(sharePrefix):len(sharePrefix)+end], "+#") {
			return Filter{}, ErrShareInvalid
		}
		at = len(sharePrefix) + end + 1
		if at == len(b) {
			return Filter{}, ErrShareInvalid
		}
	}
	wild, err := checkPattern(b[at:])
	if err != nil {
		return Filter{}, err
	}
	return Filter{text: string(b), at: uint32(at), wild: wild}, nil
}

func checkPattern(p []byte) (wild bool, err error) {
	if len(p) == 0 {
		return false, ErrFilterInvalid
	}
	if bytes.Count(p, slash) >= MaxLevels {
		return false, ErrFilterTooDeep
	}
	for i, c := range p {
		if c != '+' && c != '#' {
			continue
		}
		alone := (i == 0 || p[i-1] == '/') && (i == len(p)-1 || c == '+' && p[i+1] == '/')
		if !alone {
			return false, ErrFilterInvalid
		}
		wild = true
	}
	return wild, nil
}

// Pattern is the filter that topics are matched with.
func (f Filter) Pattern() string { return f.text[f.at:] }

// Group is the share group, "" for an ordinary filter.
func (f Filter) Group() string {
	if f.at == 0 {
		return ""
	}
	return f.text[len(sharePrefix) : f.at-1]
}

// String is the filter as the client wrote it.
func (f Filter) String() string { return f.text }

// IsExact says that the pattern has no wildcard.
func (f Filter) IsExact() bool { return !f.wild }

// unshared is the ordinary filter with f's pattern.
func (f Filter) unshared() Filter { return Filter{text: f.Pattern(), wild: f.wild} }

// Matches says whether t is one of the filter's topics, $-topics excepted from
// leading wildcards [MQTT-4.7.2-1].
func (f Filter) Matches(t Topic) bool {
	p := f.Pattern()
	if !f.wild {
		return p == t.s
	}
	if t.s[0] == '$' && (p[0] == '+' || p[0] == '#') {
		return false
	}
	return matchLevels(p, t.s)
}

// matchLevels matches a whole pattern with a whole topic, or what is left of
// both after the same number of levels.
func matchLevels(p, t string) bool {
	for {
		if p == "#" {
			return true
		}
		pl, pRest, pMore := strings.Cut(p, "/")
		tl, tRest, tMore := strings.Cut(t, "/")
		if pl != "+" && pl != tl {
			return false
		}
		if !pMore || !tMore {
			return pMore == tMore || pMore && pRest == "#" // a/# matches a (section 4.7.1.2)
		}
		p, t = pRest, tRest
	}
}
