package access

import (
	"slices"
	"strings"
)

// The model of access: what the rules say, word for word, topic by topic. It knows nothing
// of how Dunlin finds that out, and takes its time.

// identity is who asks; "" where it has none.
type identity struct{ client, user, cert string }

// rule is one line of a rule file.
type rule struct {
	Allow   string   `json:"allow,omitempty"`
	Deny    string   `json:"deny,omitempty"`
	Topics  []string `json:"topics"`
	Users   []string `json:"users,omitempty"`
	Clients []string `json:"clients,omitempty"`
	QoS     []int    `json:"qos,omitempty"`
	Retain  *bool    `json:"retain,omitempty"`
}

// rules are a rule file.
type rules struct {
	Rules     []rule `json:"rules"`
	Otherwise string `json:"otherwise"`
}

const (
	publish   = "publish"
	subscribe = "subscribe" // and receive
)

// may says whether somebody may do that with a topic: the first rule that speaks of it
// decides.
func (rs *rules) may(who identity, action, topic string, qos int, retain bool) bool {
	for _, r := range rs.Rules {
		if r.speaksOf(who, action, qos, retain) && slices.ContainsFunc(r.Topics, func(p string) bool { return who.matches(p, topic, r.Deny != "") }) {
			return r.Allow != ""
		}
	}
	return rs.Otherwise == "allow"
}

// mayPublish: topics in front of which a $ stands are nobody's to publish to.
func (rs *rules) mayPublish(who identity, topic string, qos int, retain bool) bool {
	return topic[0] != '$' && rs.may(who, publish, topic, qos, retain)
}

// mayReceive: what acl.deny-filters has is nobody's.
func (rs *rules) mayReceive(who identity, topic string, qos int) bool {
	return !matches(hidden, topic) && rs.may(who, subscribe, topic, qos, false)
}

// mayLeave is mayPublish for a will: of a certificate nothing is known any more then.
func (rs *rules) mayLeave(who identity, topic string, qos int, retain bool) bool {
	who.cert = ""
	return rs.mayPublish(who, topic, qos, retain)
}

// hidden is the filter of acl.deny-filters.
const hidden = "hidden/#"

func (r *rule) speaksOf(who identity, action string, qos int, retain bool) bool {
	verb := r.Allow + r.Deny
	switch {
	case verb != action && verb != "all":
		return false
	case len(r.Users) > 0 && !slices.Contains(r.Users, who.user) && (r.Users[0] != "*" || who.user == ""):
		return false
	case len(r.Clients) > 0 && !slices.Contains(r.Clients, who.client):
		return false
	case len(r.QoS) > 0 && !slices.Contains(r.QoS, qos):
		return false
	}
	return r.Retain == nil || *r.Retain == retain
}

// matches says whether a rule's topic filter is about a topic. A name that could be taken
// for a pattern is no name: in a rule that denies any text stands for it, in one that allows
// none does.
func (who identity) matches(pattern, topic string, deny bool) bool {
	names := []struct{ placeholder, name string }{{"${clientid}", who.client}, {"${username}", who.user}, {"${cert}", who.cert}}
	var levels []string
	dollar := topic[0] == '$'
	for i, level := range strings.Split(pattern, "/") {
		for _, n := range names {
			if !strings.Contains(level, n.placeholder) {
				continue
			}
			if n.name == "" || n.name[0] == '$' || strings.ContainsAny(n.name, "+#/") {
				if !deny {
					return false
				}
				level = "+"
				dollar = dollar && i > 0 // it stands for such names too
				break
			}
			level = strings.Replace(level, n.placeholder, n.name, 1)
			break // what stands in a name stands for itself
		}
		levels = append(levels, level)
	}
	if dollar && (levels[0] == "+" || levels[0] == "#") {
		return false
	}
	return matchLevels(levels, strings.Split(topic, "/"))
}

// matches says whether a filter, without $share, matches a topic (MQTT 5.0, 4.7).
func matches(filter, topic string) bool {
	return (topic[0] != '$' || filter[0] == '$') && matchLevels(strings.Split(filter, "/"), strings.Split(topic, "/"))
}

func matchLevels(filter, topic []string) bool {
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(topic), level != "+" && level != topic[i]:
			return false
		}
	}
	return len(filter) == len(topic)
}
