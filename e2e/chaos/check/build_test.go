package check

import (
	"fmt"
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// story writes a history by hand: each step takes a millisecond of its clock, so
// that what follows in the text follows in time.
type story struct {
	events []*history.Event
	now    time.Duration
	conn   map[string]int
	seq    map[string]int
}

func newStory() *story { return &story{conn: map[string]int{}, seq: map[string]int{}} }

// add adds e, done within one step.
func (s *story) add(e history.Event) *history.Event {
	s.now += time.Millisecond
	e.Invoke = s.now
	s.now += time.Millisecond
	e.Return = s.now
	if e.Outcome == "" {
		e.Outcome = history.OK
	}
	if e.Conn == 0 {
		e.Conn = s.conn[e.Client]
	}
	if e.Node == "" {
		e.Node = "n1"
	}
	s.events = append(s.events, &e)
	return &e
}

func (s *story) history() *history.History {
	h := new(history.History)
	for _, e := range s.events {
		h.Events = append(h.Events, *e)
	}
	return h
}

// unknown takes the answer from e.
func unknown(e *history.Event) { e.Return, e.Outcome = history.Never, history.Unknown }

func (s *story) wait(d time.Duration) { s.now += d }

func (s *story) connect(client string, present bool, expiry time.Duration) *history.Event {
	s.conn[client]++
	return s.add(history.Event{Op: history.Connect, Client: client, Present: present, Expiry: expiry})
}

// willed connects with a will of QoS 2 on topic w.
func (s *story) willed(client string, present bool, expiry, delay time.Duration) *history.Event {
	s.conn[client]++
	return s.add(history.Event{
		Op: history.Connect, Client: client, Present: present, Expiry: expiry,
		Will: true, WillDelay: delay, Topic: "w", QoS: 2, Payload: s.payload(client, "w"),
	})
}

func (s *story) end(client string, cause history.Cause) *history.Event {
	var expiry time.Duration
	for _, e := range s.events {
		if e.Client == client && e.Op == history.Connect {
			expiry = e.Expiry
		}
	}
	return s.add(history.Event{Op: history.End, Client: client, Cause: cause, Expiry: expiry})
}

func (s *story) subscribe(client, filter string, q mqtt.QoS) *history.Event {
	return s.add(history.Event{Op: history.Subscribe, Client: client, Filter: filter, QoS: q, Reason: mqtt.Reason(q)})
}

func (s *story) unsubscribe(client, filter string, r mqtt.Reason) *history.Event {
	return s.add(history.Event{Op: history.Unsubscribe, Client: client, Filter: filter, Reason: r})
}

func (s *story) payload(client, topic string) string {
	k := client + " " + topic
	s.seq[k]++
	return history.Payload(client, topic, s.seq[k])
}

func (s *story) publish(client, topic string, q mqtt.QoS) *history.Event {
	return s.add(history.Event{
		Op: history.Publish, Client: client, Topic: topic, QoS: q, Payload: s.payload(client, topic), AckConn: s.conn[client],
	})
}

func (s *story) retain(client, topic string) *history.Event {
	e := s.publish(client, topic, 1)
	e.Retain = true
	return e
}

func (s *story) read(client, topic, payload string) *history.Event {
	return s.add(history.Event{Op: history.Read, Client: client, Topic: topic, Payload: payload})
}

// deliver is the nth message of publisher on topic, come to client.
func (s *story) deliver(client, publisher, topic string, n int, q mqtt.QoS) *history.Event {
	return s.add(history.Event{
		Op: history.Deliver, Client: client, Topic: topic, QoS: q, Payload: history.Payload(publisher, topic, n),
		PacketID: uint16(n), Fresh: true, Acked: true,
	})
}

func (s *story) drain(clients ...string) {
	for _, c := range clients {
		s.add(history.Event{Op: history.Drain, Client: c})
	}
}

// pair is a subscriber "s" that keeps its session, subscribed to "t", and a
// publisher "p".
func pair() *story {
	s := newStory()
	s.connect("s", false, time.Hour)
	s.subscribe("s", "t", 2)
	s.connect("p", false, time.Hour)
	return s
}

// verdict is nil if the checkers report rule and nothing else, or nothing if rule
// is "".
func verdict(found []Violation, rule string) error {
	for _, v := range found {
		if v.Rule != rule {
			return fmt.Errorf("reports %v", v)
		}
	}
	if len(found) == 0 && rule != "" {
		return fmt.Errorf("does not report %s", rule)
	}
	return nil
}
