package check

import (
	"testing"
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// TestPlanted gives the checkers, all together, histories with one planted bug
// each, and beside them histories that look like it and are right.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name string
		rule string // the only one that is broken; "" for none
		tell func(*story)
	}{
		// lost (P1)
		{"acknowledged before commit", "lost", func(s *story) {
			s.publish("p", "t", 1)
			s.drain("s")
		}},
		{"delivered", "", func(s *story) {
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1)
			s.drain("s")
		}},
		{"lost with the move of a session", "lost", func(s *story) {
			s.end("s", history.Dropped)
			s.publish("p", "t", 2)
			s.connect("s", true, time.Hour)
			s.drain("s")
		}},
		{"not acknowledged", "", func(s *story) {
			unknown(s.publish("p", "t", 1))
			s.drain("s")
		}},
		{"never drained", "", func(s *story) { s.publish("p", "t", 1) }},
		{"unsubscribed before drained", "", func(s *story) {
			s.publish("p", "t", 1)
			s.unsubscribe("s", "t", mqtt.Success)
			s.drain("s")
		}},
		{"expired", "", func(s *story) {
			s.publish("p", "t", 1).Expiry = time.Second
			s.wait(2 * time.Second)
			s.drain("s")
		}},
		{"not yet expired", "lost", func(s *story) {
			s.publish("p", "t", 1).Expiry = time.Minute
			s.drain("s")
		}},
		{"QoS 0 is not promised", "", func(s *story) {
			s.publish("p", "t", 0)
			s.drain("s")
		}},

		// invented
		{"out of nothing", "invented", func(s *story) { s.deliver("s", "p", "t", 1, 1) }},
		{"damaged", "invented", func(s *story) {
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1).Payload += "x"
		}},
		{"on another topic", "invented", func(s *story) {
			s.subscribe("s", "u", 1)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1).Topic = "u"
		}},
		{"to a stranger", "invented", func(s *story) {
			s.connect("x", false, 0)
			s.publish("p", "t", 1)
			s.deliver("x", "p", "t", 1, 1)
		}},
		{"surer than sent", "invented", func(s *story) {
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 2)
		}},
		{"refused and delivered", "invented", func(s *story) {
			s.publish("p", "t", 1).Outcome = history.Fail
			s.deliver("s", "p", "t", 1, 1)
		}},

		// twice (P2)
		{"identifiers forgotten on failover", "twice", func(s *story) {
			unknown(s.publish("p", "t", 2))
			s.deliver("s", "p", "t", 1, 2)
			s.end("s", history.Closed)
			s.connect("s", true, time.Hour)
			s.deliver("s", "p", "t", 1, 2).PacketID = 9
		}},
		{"QoS 1 may come twice", "", func(s *story) {
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"a handshake's repeat is no second time", "", func(s *story) {
			s.publish("p", "t", 2)
			s.deliver("s", "p", "t", 1, 2)
			s.end("s", history.Closed)
			s.connect("s", true, time.Hour)
			d := s.deliver("s", "p", "t", 1, 2)
			d.Fresh, d.Dup = false, true
		}},
		{"QoS 0 twice", "twice", func(s *story) {
			s.publish("p", "t", 0)
			s.deliver("s", "p", "t", 1, 0)
			s.deliver("s", "p", "t", 1, 0)
		}},

		// order (P7)
		{"overtaken", "order", func(s *story) {
			s.publish("p", "t", 1)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 2, 1)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"a resend after its successor", "", func(s *story) {
			s.publish("p", "t", 1)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1)
			s.deliver("s", "p", "t", 2, 1)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"another QoS overtakes", "", func(s *story) {
			s.publish("p", "t", 2)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 2, 1)
			s.deliver("s", "p", "t", 1, 2)
		}},
		{"overtaken by what a session published after a move", "order", func(s *story) {
			unknown(s.publish("p", "t", 1))
			s.end("p", history.Closed)
			s.connect("p", true, time.Hour)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 2, 1)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"first by a resend, to who subscribed meanwhile", "", func(s *story) {
			s.unsubscribe("s", "t", mqtt.Success)
			first := s.publish("p", "t", 1)
			s.subscribe("s", "t", 2)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 2, 1)
			s.end("p", history.Closed)
			s.connect("p", true, time.Hour)
			s.deliver("s", "p", "t", 1, 1)
			first.AckConn, first.Return = 2, s.now
		}},
		{"first by a resend, to who had subscribed", "order", func(s *story) {
			first := s.publish("p", "t", 1)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 2, 1)
			s.end("p", history.Closed)
			s.connect("p", true, time.Hour)
			s.deliver("s", "p", "t", 1, 1)
			first.AckConn, first.Return = 2, s.now
		}},
		{"another session of the publisher", "", func(s *story) {
			unknown(s.publish("p", "t", 1))
			s.end("p", history.Closed)
			s.connect("p", false, time.Hour).Clean = true
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 2, 1)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"resent without DUP", "order: dup", func(s *story) {
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1).Acked = false
			s.end("s", history.Dropped)
			s.connect("s", true, time.Hour)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"an identifier in use", "order: id", func(s *story) {
			s.publish("p", "t", 1)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1).Acked = false
			s.end("s", history.Dropped)
			s.connect("s", true, time.Hour)
			s.deliver("s", "p", "t", 2, 1).PacketID = 1
		}},
		{"resent with DUP", "", func(s *story) {
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1).Acked = false
			s.end("s", history.Dropped)
			s.connect("s", true, time.Hour)
			s.deliver("s", "p", "t", 1, 1).Dup = true
		}},

		// session (P3)
		{"session lost", "session: lost", func(s *story) {
			s.end("s", history.Dropped)
			s.connect("s", false, time.Hour)
		}},
		{"session gone in time", "", func(s *story) {
			s.end("s", history.Dropped)
			s.wait(2 * time.Hour)
			s.connect("s", false, time.Hour)
		}},
		{"session for ever", "session: present", func(s *story) {
			s.end("s", history.Dropped)
			s.wait(2 * time.Hour)
			s.connect("s", true, time.Hour)
		}},
		{"session in spite of clean start", "session: present", func(s *story) {
			s.end("s", history.Dropped)
			s.connect("s", true, time.Hour).Clean = true
		}},
		{"session in spite of expiry 0", "session: present", func(s *story) {
			s.connect("x", false, 0)
			s.end("x", history.Dropped)
			s.connect("x", true, 0)
		}},
		{"perhaps a clean start between", "", func(s *story) {
			s.end("s", history.Dropped)
			e := s.connect("s", false, time.Hour)
			e.Clean = true
			unknown(e)
			s.connect("s", false, time.Hour)
		}},
		{"present = 1 without its subscriptions", "session: content", func(s *story) {
			s.end("s", history.Dropped)
			s.connect("s", true, time.Hour)
			s.unsubscribe("s", "t", mqtt.NoSubscriptionExisted)
		}},
		{"subscription after UNSUBACK", "session: content", func(s *story) {
			s.unsubscribe("s", "t", mqtt.Success)
			s.unsubscribe("s", "t", mqtt.Success)
		}},

		// owner (P5)
		{"epoch not checked", "owner", func(s *story) {
			s.connect("s", true, time.Hour)
			s.subscribe("s", "u", 1).Conn = 1
		}},
		{"taken before the claim", "", func(s *story) {
			e := s.subscribe("s", "u", 1)
			s.connect("s", true, time.Hour)
			e.Return = s.now + 1
		}},
		{"claimed back", "", func(s *story) {
			s.connect("s", true, time.Hour)
			s.subscribe("s", "u", 1)
			s.connect("s", true, time.Hour)
			s.subscribe("s", "v", 1)
		}},
		{"acknowledged to the evicted", "owner", func(s *story) {
			s.connect("p", true, time.Hour)
			s.publish("p", "t", 1).AckConn = 1
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"acknowledged to the evicted what nobody wanted", "", func(s *story) {
			s.connect("p", true, time.Hour)
			s.publish("p", "nobody", 1).AckConn = 1
		}},

		// subscribe (P4)
		{"published after SUBACK", "subscribe", func(s *story) {
			s.connect("e", false, 0)
			s.subscribe("e", "u", 1)
			s.publish("p", "u", 1)
			s.drain("e")
		}},
		{"published before SUBACK", "", func(s *story) {
			s.connect("e", false, 0)
			s.publish("p", "u", 1)
			s.subscribe("e", "u", 1)
			s.drain("e")
		}},
		{"published after UNSUBACK", "subscribe: after", func(s *story) {
			s.unsubscribe("s", "t", mqtt.Success)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"in flight at UNSUBACK", "", func(s *story) {
			s.publish("p", "t", 1)
			s.unsubscribe("s", "t", mqtt.Success)
			s.deliver("s", "p", "t", 1, 1)
		}},
		{"another filter goes on", "", func(s *story) {
			s.subscribe("s", "+", 1)
			s.unsubscribe("s", "t", mqtt.Success)
			s.publish("p", "t", 1)
			s.deliver("s", "p", "t", 1, 1)
		}},

		// retained (P8)
		{"an old value", "retained", func(s *story) {
			first := s.retain("p", "r").Payload
			s.retain("p", "r")
			s.read("s", "r", first)
		}},
		{"none after the acknowledgement", "retained", func(s *story) {
			s.retain("p", "r")
			s.read("s", "r", "")
		}},
		{"back and forth", "retained", func(s *story) {
			first := s.retain("p", "r").Payload
			e := s.retain("p", "r")
			second := e.Payload
			unknown(e)
			s.read("s", "r", second)
			s.read("s", "r", first)
		}},
		{"one of two at once", "", func(s *story) {
			first := s.retain("p", "r").Payload
			e := s.retain("p", "r")
			second := e.Payload
			unknown(e)
			s.read("s", "r", first)
			s.read("s", "r", second)
		}},
		{"deleted", "", func(s *story) {
			s.retain("p", "r")
			s.retain("p", "r").Payload = ""
			s.read("s", "r", "")
		}},
		{"deleted and there again", "retained", func(s *story) {
			first := s.retain("p", "r").Payload
			s.retain("p", "r").Payload = ""
			s.read("s", "r", first)
		}},
		{"sent again and written again", "", func(s *story) {
			first := s.retain("p", "r")
			first.AckConn++
			s.retain("p", "r")
			s.read("s", "r", first.Payload)
		}},
		{"sent again with QoS 2 and written again", "retained", func(s *story) {
			first := s.retain("p", "r")
			first.QoS = 2
			first.AckConn++
			s.retain("p", "r")
			s.read("s", "r", first.Payload)
		}},
		{"nothing while a write goes on", "", func(s *story) {
			s.retain("p", "r")
			late := s.retain("p", "r")
			s.read("s", "r", "")
			s.wait(time.Second)
			late.Return = s.now
		}},
		{"nothing after a write", "retained", func(s *story) {
			s.retain("p", "r")
			s.read("s", "r", "")
			s.retain("p", "r")
		}},
		{"a deletion, live", "", func(s *story) {
			s.subscribe("s", "r", 1)
			s.retain("p", "r").Payload = ""
			s.deliver("s", "p", "r", 1, 1).Payload = ""
		}},
		{"a deletion that nobody sent", "invented", func(s *story) {
			s.subscribe("s", "r", 1)
			s.deliver("s", "p", "r", 1, 1).Payload = ""
		}},
		{"a gap between replay and live flow", "retained: seam", func(s *story) {
			first := s.retain("p", "r").Payload
			s.subscribe("s", "r", 1)
			s.read("s", "r", first)
			s.retain("p", "r")
			s.retain("p", "r")
			s.deliver("s", "p", "r", 3, 1)
		}},
		{"a later read's live flow", "", func(s *story) {
			first := s.retain("p", "r").Payload
			s.subscribe("s", "r", 1)
			s.read("s", "r", first)
			s.unsubscribe("s", "r", mqtt.Success)
			s.retain("p", "r")
			s.subscribe("s", "r", 1)
			s.retain("p", "r")
			s.deliver("s", "p", "r", 3, 1)
		}},
		{"the live flow repeats the replay", "retained: seam", func(s *story) {
			first := s.retain("p", "r").Payload
			s.subscribe("s", "r", 1)
			s.read("s", "r", first)
			s.deliver("s", "p", "r", 1, 1)
		}},

		// will (P6)
		{"will skipped", "will: missing", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, 0, 0)
			s.end("x", history.Dropped)
			s.wait(time.Minute)
			s.drain("s")
		}},
		{"will fired", "", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, 0, 0)
			s.end("x", history.Dropped)
			s.deliver("s", "x", "w", 1, 2)
			s.wait(time.Minute)
			s.drain("s")
		}},
		{"will after DISCONNECT", "will: false", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, 0, 0)
			s.end("x", history.Orderly)
			s.deliver("s", "x", "w", 1, 2)
		}},
		{"will of the living", "will: false", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, 0, 0)
			s.deliver("s", "x", "w", 1, 2)
		}},
		{"will too early", "will: early", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, time.Hour, 10*time.Second)
			s.end("x", history.Dropped)
			s.deliver("s", "x", "w", 1, 2)
		}},
		{"will too late", "will: late", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, time.Hour, 10*time.Second)
			s.end("x", history.Dropped)
			s.wait(time.Minute)
			s.deliver("s", "x", "w", 1, 2)
		}},
		{"will in spite of resumption", "will: false", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, time.Hour, 10*time.Second)
			s.end("x", history.Dropped)
			s.willed("x", true, time.Hour, 10*time.Second)
			s.wait(10 * time.Second)
			s.deliver("s", "x", "w", 1, 2)
		}},
		{"will at the session's end", "", func(s *story) {
			s.subscribe("s", "w", 2)
			s.willed("x", false, 5*time.Second, time.Hour)
			s.end("x", history.Dropped)
			s.wait(6 * time.Second)
			s.deliver("s", "x", "w", 1, 2)
			s.wait(time.Minute)
			s.drain("s")
		}},
		{"will twice", "will: twice", func(s *story) {
			s.subscribe("s", "w", 1)
			s.willed("x", false, 0, 0).QoS = 1
			s.end("x", history.Dropped)
			s.deliver("s", "x", "w", 1, 1)
			s.deliver("s", "x", "w", 1, 1)
		}},

		// shared (P9)
		{"group loses", "shared: lost", func(s *story) {
			s.connect("g1", false, 0)
			s.subscribe("g1", "$share/g/u", 1)
			s.publish("p", "u", 1)
			s.drain("g1")
		}},
		{"member dies with a message", "shared: lost", func(s *story) {
			for _, g := range []string{"g1", "g2"} {
				s.connect(g, false, 0)
				s.subscribe(g, "$share/g/u", 1)
			}
			s.publish("p", "u", 1)
			s.end("g1", history.Dropped)
			s.drain("g2")
		}},
		{"another takes over", "", func(s *story) {
			for _, g := range []string{"g1", "g2"} {
				s.connect(g, false, 0)
				s.subscribe(g, "$share/g/u", 1)
			}
			s.publish("p", "u", 1)
			s.deliver("g1", "p", "u", 1, 1)
			s.end("g1", history.Dropped)
			s.deliver("g2", "p", "u", 1, 1)
			s.drain("g2")
		}},
		{"QoS 2 to two members", "shared: twice", func(s *story) {
			for _, g := range []string{"g1", "g2"} {
				s.connect(g, false, time.Hour)
				s.subscribe(g, "$share/g/u", 2)
			}
			s.publish("p", "u", 2)
			s.deliver("g1", "p", "u", 1, 2)
			s.deliver("g2", "p", "u", 1, 2)
		}},
		{"QoS 2 ends with its member", "", func(s *story) {
			for _, g := range []string{"g1", "g2"} {
				s.connect(g, false, 0)
				s.subscribe(g, "$share/g/u", 2)
			}
			s.publish("p", "u", 2)
			s.end("g1", history.Dropped)
			s.drain("g2")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pair()
			c.tell(s)
			if err := verdict(History(s.history(), DefaultOptions()), c.rule); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExcused: what the cluster counts as dropped is not lost, one more is.
func TestExcused(t *testing.T) {
	s := pair()
	s.publish("p", "t", 1)
	o := DefaultOptions()
	o.Excused = map[string]int{"s": 1}
	s.drain("s")
	if err := verdict(History(s.history(), o), ""); err != nil {
		t.Error(err)
	}
	s.publish("p", "t", 1)
	s.drain("s")
	if err := verdict(History(s.history(), o), "lost"); err != nil {
		t.Error(err)
	}
}

// TestQuiet holds QoS 0 to P4 where nothing dies.
func TestQuiet(t *testing.T) {
	s := newStory()
	s.connect("e", false, 0)
	s.connect("p", false, 0)
	s.subscribe("e", "t", 0)
	s.publish("p", "t", 0)
	s.drain("e")
	o := DefaultOptions()
	if err := verdict(History(s.history(), o), ""); err != nil {
		t.Error(err)
	}
	o.QoS0 = true
	if err := verdict(History(s.history(), o), "subscribe"); err != nil {
		t.Error(err)
	}
}

// TestDeadNode: what an ephemeral group had on a node that died is excused.
func TestDeadNode(t *testing.T) {
	s := pair()
	s.connect("g1", false, 0)
	s.subscribe("g1", "$share/g/u", 1)
	s.publish("p", "u", 1)
	killed := s.now
	s.drain("g1")
	h := s.history()
	h.Faults = []history.Fault{{At: killed, Kind: "kill", Node: "n1"}}
	if err := verdict(History(h, DefaultOptions()), ""); err != nil {
		t.Error(err)
	}
}

// TestDisconnectOfTheDying: the connection of a node that is killed ends as one does
// whose DISCONNECT has been heard. Its will may fire; that of one which ended before may not.
func TestDisconnectOfTheDying(t *testing.T) {
	for _, c := range []struct {
		killed time.Duration // after the client had seen the end
		want   string
	}{{-time.Nanosecond, ""}, {time.Millisecond, "will: false"}} {
		s := pair()
		s.subscribe("s", "w", 2)
		s.willed("x", false, 0, 0)
		end := s.end("x", history.Orderly)
		s.deliver("s", "x", "w", 1, 2)
		h := s.history()
		h.Faults = []history.Fault{{At: end.Return + c.killed, Kind: history.Killing, Node: end.Node}}
		if err := verdict(History(h, DefaultOptions()), c.want); err != nil {
			t.Errorf("killed %v after it: %v", c.killed, err)
		}
	}
}

func TestReads(t *testing.T) {
	s := pair()
	unknown(s.read("s", "r", "")) // while something was wrong
	since := s.now
	s.subscribe("s", "r", 1)
	s.read("s", "r", "")
	unknown(s.subscribe("p", "t", 1)) // no reader
	if err := verdict(Reads(s.history(), since), ""); err != nil {
		t.Error(err)
	}
	stuck := s.read("s", "r", "")
	unknown(stuck)
	if err := verdict(Reads(s.history(), since), "retained: stuck"); err != nil {
		t.Error(err)
	}
	stuck.Op, stuck.Filter = history.Subscribe, "r"
	if err := verdict(Reads(s.history(), since), "retained: stuck"); err != nil {
		t.Error(err)
	}
}

func TestUnknownShare(t *testing.T) {
	s := pair()
	s.retain("p", "r")
	unknown(s.retain("p", "r"))
	if got := UnknownShare(s.history()); got != 0.25 {
		t.Errorf("%v of 2 claims and 2 writes, one of them unknown", got)
	}
}
