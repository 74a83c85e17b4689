package check

import "strings"

// split takes $share/group/ off a filter.
func split(filter string) (group, rest string) {
	if after, ok := strings.CutPrefix(filter, "$share/"); ok {
		if group, rest, ok = strings.Cut(after, "/"); ok {
			return group, rest
		}
	}
	return "", filter
}

// matches says whether a filter without $share matches a topic, by the letter of
// section 4.7.
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false // [MQTT-4.7.2-1]
	}
	fs, ts := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, f := range fs {
		switch {
		case f == "#":
			return true // the parent level too
		case i >= len(ts), f != "+" && f != ts[i]:
			return false
		}
	}
	return len(fs) == len(ts)
}
