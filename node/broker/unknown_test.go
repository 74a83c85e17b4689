package broker

import (
	"fmt"
	"testing"
	"testing/synctest"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
)

// crowded is a store that has no room for a command now and then, and says so at once.
type crowded struct {
	underlying
	full func(raftstore.Command) bool
}

func (s *crowded) Submit(sh router.ShardID, cmd raftstore.Command, done func(raftstore.Result)) {
	if s.full(cmd) {
		done(raftstore.Result{Err: raftstore.ErrUnknown, Dropped: 1})
		return
	}
	s.underlying.Submit(sh, cmd, done)
}

// P7, R6: where the outcome of a publish is unknown, nothing goes on that the same
// connection sent behind it: the client sends both again, and the second may not
// have come first.
func TestNothingOvertakesAnUnknownPublish(t *testing.T) {
	for name, test := range map[string]struct {
		retain bool
		full   func(raftstore.Command) bool
		qos    []mqtt.QoS
	}{
		"retained":          {true, is[raftstore.Retain], []mqtt.QoS{0, 1, 2}},
		"its live leg":      {true, is[raftstore.Enqueue], []mqtt.QoS{1, 2}},
		"live":              {false, is[raftstore.Enqueue], []mqtt.QoS{1, 2}},
		"packet identifier": {false, is[raftstore.Receive], []mqtt.QoS{2}},
	} {
		for _, qos := range test.qos {
			t.Run(fmt.Sprintf("%s, QoS %d", name, qos), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCell(t, 1, 2, nil)
					n := c.nodes[0]
					kept := c.persistent(0, 0, "kept")
					kept.subscribe("t", 2)
					live := c.connect(0, 1, "live")
					live.subscribe("t", 2)
					pub := c.persistent(0, 0, "pub")
					times := 0
					n.b.shards = &crowded{n.b.shards, func(cmd raftstore.Command) bool {
						if !test.full(cmd) {
							return false
						}
						times++
						return times == 1
					}}
					for i := range uint16(3) {
						p := &mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), QoS: qos, Retain: test.retain}
						if qos > 0 {
							p.PacketID = i + 1
						}
						pub.queue(p)
					}
					c.settle()
					if !pub.closed {
						t.Error("the connection stays")
					}
					pub.none()
					for name, sub := range map[string]*testConn{"kept": kept, "live": live} {
						for _, got := range payloads(sub.recv()) {
							if got != "0" {
								t.Errorf("%s got %s", name, got)
							}
						}
					}
				})
			})
		}
	}
}
