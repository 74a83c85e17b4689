package access

import (
	"slices"
	"strings"
)

// samples are topics that a filter matches, enough of them for the rules of this test.
func samples(filter string) (topics []string) {
	topics = []string{""}
	for i, level := range strings.Split(filter, "/") {
		var more []string
		for _, t := range topics {
			if i > 0 && level != "#" {
				t += "/"
			}
			switch level {
			case "+":
				for _, w := range words {
					more = append(more, t+w)
				}
			case "#":
				for _, w := range words {
					if i > 0 {
						more = append(more, t)
						w = "/" + w
					}
					more = append(more, t+w, t+w+"/"+words[0], t+w+"/"+words[1]+"/x")
				}
			default:
				more = append(more, t+level)
			}
		}
		topics = more
	}
	return slices.DeleteFunc(append(topics, everyTopic...), func(t string) bool { return t == "" || !matches(filter, t) })
}

// mustGrant says whether a filter has to be granted: 1; must not be: -1; or neither, as
// rules that cut into it may be taken to refuse it though they leave all that it matches.
func (rs *rules) mustGrant(who identity, filter string, qos int) int {
	if matchLevels(strings.Split(hidden, "/"), strings.Split(filter, "/")) {
		return -1
	}
	for _, t := range samples(filter) {
		if !rs.may(who, subscribe, t, qos, false) {
			return -1
		}
	}
	if !strings.ContainsAny(filter, "+#") {
		return 1
	}
	for _, r := range rs.Rules {
		if r.speaksOf(who, subscribe, qos, false) {
			if r.Allow != "" && slices.Contains(r.Topics, filter) {
				return 1
			}
			return 0
		}
	}
	return 0
}
