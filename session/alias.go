package session

import (
	"strings"

	"dunlin/proto/mqtt"
)

// aliases are a connection's topic aliases, which mean something else in each
// direction and end with it [MQTT-3.3.2-7].
type aliases struct {
	in  [][]byte          // topic by alias-1, set by the client; nil: not set
	out map[string]uint16 // alias by topic, set by us
}

func (l *Live) aliasTable() *aliases {
	if l.aliases == nil {
		l.aliases = &aliases{}
	}
	return l.aliases
}

// resolve sets or applies p's alias. On failure it returns the reason to close
// with.
func (l *Live) resolve(p *mqtt.Publish) (reason mqtt.Reason, ok bool) {
	switch {
	case p.TopicAlias == 0:
		if len(p.Topic) == 0 {
			return mqtt.ProtocolError, false
		}
	case p.TopicAlias > l.aliasMax:
		return mqtt.TopicAliasInvalid, false
	case len(p.Topic) == 0:
		if l.aliases == nil || int(p.TopicAlias) > len(l.aliases.in) || l.aliases.in[p.TopicAlias-1] == nil {
			return mqtt.ProtocolError, false
		}
		p.Topic = l.aliases.in[p.TopicAlias-1]
	default:
		a := l.aliasTable()
		for len(a.in) < int(p.TopicAlias) {
			a.in = append(a.in, nil)
		}
		a.in[p.TopicAlias-1] = append(a.in[p.TopicAlias-1][:0], p.Topic...)
	}
	return 0, true
}

// shortestAliased is the length of the shortest topic that gets an alias. An alias
// takes three bytes, and perhaps a fourth for the length of the properties, so
// that a packet with a known one is never longer than without.
const shortestAliased = 5

// sendAlias finds the alias to send topic with, 0 for none. The first topics
// get them. Of a new one the client learns with the packet that has both; bind
// enters it when that is certain to be sent.
func (l *Live) sendAlias(topic string) (alias uint16, known bool) {
	if len(topic) < shortestAliased {
		return 0, false
	}
	if l.aliases == nil {
		return 1, false
	}
	if alias, known = l.aliases.out[topic]; known {
		return alias, true
	}
	if n := len(l.aliases.out); n < int(l.sendAliasMax) {
		return uint16(n + 1), false
	}
	return 0, false
}

func (l *Live) bind(topic string, alias uint16) {
	a := l.aliasTable()
	if a.out == nil {
		a.out = make(map[string]uint16)
	}
	a.out[strings.Clone(topic)] = alias
}
