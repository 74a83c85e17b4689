package load

import (
	"strconv"
	"strings"
)

// clientID is the identifier of client i of a kind: pub, sub or conn.
func (c Config) clientID(kind string, i int) string {
	return c.Prefix + kind + "-" + strconv.Itoa(c.First+i)
}

// fill replaces what stands for something in a topic or filter: %i by the client's
// number, %c by its identifier, %u by the user name and %n by the round of a churn.
func (c Config) fill(template, kind string, i, round int) string {
	if !strings.Contains(template, "%") {
		return template
	}
	return strings.NewReplacer(
		"%i", strconv.Itoa(c.First+i), "%c", c.clientID(kind, i), "%u", c.Username, "%n", strconv.Itoa(round),
	).Replace(template)
}

// wildcard is the filter that matches a template whatever stands in it: each level
// with a placeholder is a +.
func wildcard(template string) string {
	levels := strings.Split(template, "/")
	for i, level := range levels {
		for _, p := range []string{"%i", "%c", "%u", "%n"} {
			if strings.Contains(level, p) {
				levels[i] = "+"
			}
		}
	}
	return strings.Join(levels, "/")
}

// kind is the middle of the identifiers of subscribers.
func (c Config) kind() string {
	if c.Verb == Conn {
		return "conn"
	}
	return "sub"
}

// filter is what subscriber i subscribes to; "" for none.
func (c Config) filter(i, round int) string {
	f := c.Filter
	if f == "" {
		return ""
	}
	if c.Verb == ShareSub {
		f = "$share/" + c.Group + "/" + f
	}
	if c.Verb == P2P { // it is the topic of its publisher
		return c.fill(f, "pub", i, round)
	}
	return c.fill(f, c.kind(), i, round)
}

// topicOf is where stream i goes. With conn and offline it is its receiver's own.
func (c Config) topicOf(i int) string {
	switch c.Verb {
	case Conn:
		return c.fill(c.Filter, "conn", i, 0)
	case Offline:
		return c.fill(c.Filter, "sub", i, 0)
	}
	return c.fill(c.Topic, "pub", i, 0)
}
