package client

import (
	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// session is what a client keeps beyond a connection, while the server does.
type session struct {
	sending  []*sent         // not completely answered, in order
	received map[uint16]bool // identifiers of QoS 2 messages that came and were not released
	held     map[string]bool // filters that a SUBACK confirmed
	asked    map[uint16]*history.Event
	lastID   uint16
	seqs     map[string]int // by topic; survives everything
	wills    int
}

// sent is a PUBLISH under way.
type sent struct {
	event    history.Event // Invoke, and what was published
	packet   mqtt.Publish
	recorded bool // the event has its outcome
	release  bool // PUBREC came: PUBREL is what is resent
}

// reset forgets what went with the server's session.
func (s *session) reset() {
	s.sending = nil
	s.received = make(map[uint16]bool)
	s.held = make(map[string]bool)
	s.asked = make(map[uint16]*history.Event)
}

// nextID is an identifier that is free.
func (s *session) nextID() uint16 {
	for {
		s.lastID++
		if s.lastID == 0 || s.asked[s.lastID] != nil {
			continue
		}
		used := false
		for _, p := range s.sending {
			used = used || p.packet.PacketID == s.lastID
		}
		if !used {
			return s.lastID
		}
	}
}
