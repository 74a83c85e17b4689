package acl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dunlin/router"
)

// Subject is who asks. It is made by NewSubject and constant, and cheap enough to be
// made for each question.
type Subject struct {
	names  [variables]string
	groups []string // in order
}

// variable is what a placeholder stands for.
type variable uint8

const (
	clientID variable = iota
	userName
	certName
	variables
	noVariable
)

var placeholders = [variables]string{"${clientid}", "${username}", "${cert}"}

// NewSubject names a client: its identifier, its user, and the name that its
// certificate was found to give it; "" where it has none. The groups that it is in
// are in order, and lent.
func NewSubject(client, user, cert string, groups ...string) Subject {
	return Subject{names: [variables]string{client, user, cert}, groups: groups}
}

// in says whether s is in one of the groups.
func (s *Subject) in(groups []string) bool {
	for _, g := range groups {
		if _, found := slices.BinarySearch(s.groups, g); found {
			return true
		}
	}
	return false
}

// plain says whether a name may stand in a rule that allows.
func (s *Subject) plain(v variable) bool {
	name := s.names[v]
	return name != "" && name[0] != '$' && !strings.ContainsAny(name, "+#/")
}

// pattern is the topic filter of a rule, level by level.
type pattern []level

// level is one level of a pattern: a wildcard, or text with perhaps a variable
// in it.
type level struct {
	wild           byte // '+', '#', or 0
	what           variable
	before, behind string // before alone, if there is no variable
}

var errPlaceholder = errors.New("unknown placeholder, want " + strings.Join(placeholders[:], ", "))

// parsePattern reads a filter with placeholders, at most one in a level.
func parsePattern(text string) (pattern, error) {
	sample := text
	for _, name := range placeholders {
		sample = strings.ReplaceAll(sample, name, "x")
	}
	if strings.Contains(sample, "${") {
		return nil, errPlaceholder
	}
	f, err := router.ParseFilter([]byte(sample))
	if err != nil {
		return nil, err
	}
	if f.Group() != "" {
		return nil, errors.New("a rule names topics, leave $share/{group}/ out")
	}
	var p pattern
	for _, s := range strings.Split(text, "/") {
		l, err := parseLevel(s)
		if err != nil {
			return nil, err
		}
		p = append(p, l)
	}
	return p, nil
}

func parseLevel(s string) (level, error) {
	if s == "+" || s == "#" {
		return level{wild: s[0]}, nil
	}
	l := level{what: noVariable, before: s}
	for v, name := range placeholders {
		before, behind, found := strings.Cut(l.before, name)
		if !found {
			continue
		}
		if l.what != noVariable || strings.Contains(behind, "${") {
			return level{}, fmt.Errorf("level %q has more than one placeholder", s)
		}
		l = level{what: variable(v), before: before, behind: behind}
	}
	return l, nil
}

// wildFor says whether the level matches any text for s: a wildcard does, and a
// variable whose name may not stand there.
func (l level) wildFor(s *Subject) bool {
	return l.wild != 0 || l.what != noVariable && !s.plain(l.what)
}

// is says whether a level that is not wild for s is that text.
func (l level) is(text string, s *Subject) bool {
	if l.what == noVariable {
		return l.before == text
	}
	rest, ok := strings.CutPrefix(text, l.before)
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, l.behind)
	return ok && rest == s.names[l.what]
}

// speaksOf says whether every placeholder has a name that may stand there.
func (p pattern) speaksOf(s *Subject) bool {
	for _, l := range p {
		if l.wild == 0 && l.what != noVariable && !s.plain(l.what) {
			return false
		}
	}
	return true
}

// relation is how the topics of a filter lie to those of a pattern.
type relation uint8

const (
	apart  relation = iota // none is the pattern's
	across                 // some may be
	within                 // all are
)

// relate compares a filter, or a topic, which is a filter without wildcards.
func (p pattern) relate(filter string, s *Subject) relation {
	// No leading wildcard matches a topic that begins with $; but an unfit name
	// stands for those too.
	first := p[0]
	switch {
	case first.wild != 0 && filter[0] == '$':
		return apart
	case first.wild == 0 && (filter[0] == '+' || filter[0] == '#') && first.before != "" && first.before[0] == '$':
		return apart
	}
	r := within
	rest, more := filter, true
	for i, l := range p {
		if l.wild == '#' {
			// Zero levels and more; but of a topic there is always one.
			return r
		}
		if !more {
			return apart
		}
		var text string
		text, rest, more = strings.Cut(rest, "/")
		switch {
		case text == "#" && i == len(p)-2 && i == 0 && l.wildFor(s) && p[1].wild == '#':
			return r // +/# is all that # is
		case text == "#":
			return min(r, across)
		case l.wildFor(s):
		case text == "+":
			r = across
		case !l.is(text, s):
			return apart
		}
	}
	switch {
	case !more:
		return r
	case rest == "#":
		return min(r, across) // the pattern is its parent
	}
	return apart
}
