package session

import (
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// FuzzLive takes a script of arbitrary steps, each of a byte and what it needs
// more: bytes of the client as they come off the wire, deliveries, answers of
// the broker in any order, also to what nobody asked. Nothing may break an
// invariant or send what does not decode.
func FuzzLive(f *testing.F) {
	f.Add([]byte{0x00, 0x08, 2, 5, '0', 3, 0, 1, 'a'})
	f.Add([]byte{0x01, 1, 1, 1, 0x21, 3, 2, 0, 1, 2})
	f.Add([]byte{0x13, 0, 6, '4', 4, 0, 1, 'a', 0, 1, 3, 1, 0, 0, 4, 'b', 2, 0, 1, 4, 1, 5, 0, 6, 7})
	f.Add([]byte{0x2b, 1, 0x42, 1, 0x91, 1, 3, 5, 9, 0, 4, 'P', 2, 0, 1, 6, 1, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		next := func() (b byte) {
			if len(script) > 0 {
				b, script = script[0], script[1:]
			}
			return b
		}
		setup := next()
		v := mqtt.V311
		if setup&1 != 0 {
			v = mqtt.V5
		}
		persistent := setup&2 != 0
		c := mqtt.Connect{
			Version: v, ReceiveMaximum: uint16(1 + setup>>2&3), TopicAliasMaximum: uint16(setup >> 4 & 1),
			MaximumPacketSize: uint32(setup>>5&1) * 20, HasAuthMethod: setup>>6&1 != 0,
		}
		var l Live
		l.Connect(&c, Limits{
			ReceiveMaximum: 3, TopicAliasMaximum: 2, SendAliasMaximum: 1, MaxInflight: 3,
			MaxQueueMessages: 3, MaxQueueBytes: 300, DropOldest: setup>>7 != 0,
		}, persistent, 0)
		var (
			now   Time
			out   []byte
			index uint64
			p     mqtt.Packet
		)
		topics := [2]router.Topic{topic(t, "a"), topic(t, "a/topic")}
		if persistent {
			l.ResumeInbound([]uint16{1, 2})
		}
		for len(script) > 0 {
			switch op := next(); op & 15 {
			case 0:
				n := min(int(next()), len(script))
				frame, size, err := mqtt.Cut(script[:n], 100)
				if err != nil || size == 0 || mqtt.Decode(frame, v, &p) != nil {
					script = script[n:]
					continue
				}
				script = script[size:]
				var act Action
				if act, out = l.Receive(&p, now, out); act.Verb == Fail {
					out = l.Disconnect(act.Reason, out)
					checkOutput(t, out, v, c.MaximumPacketSize)
					return
				}
			case 1, 9:
				shape := next()
				m := Message{Topic: topics[op>>7], Payload: make([]byte, int(next())), QoS: mqtt.QoS(shape & 3 % 3), Received: now}
				m.HasExpiry, m.Expiry = shape&4 != 0, 2
				d := Delivery{Message: &m, QoS: m.QoS, Dup: shape&8 != 0 && m.QoS > 0, Retain: shape&16 != 0}
				if shape&32 != 0 {
					d.IDs = []uint32{uint32(shape)}
				}
				if shape&64 != 0 {
					d.Handle = uint64(shape)
				}
				if persistent && m.QoS > 0 {
					index += 1 + uint64(op>>4)
					d.Index = index
				}
				_, out = l.Deliver(&d, shape&128 == 0, now, out)
			case 2:
				if id := uint16(next()); l.Published(id, mqtt.Reason(op&0x80)) && op&0x40 == 0 {
					out = l.Answer(out)
				}
			case 3:
				out = l.SendRelease(uint64(next()), out)
			case 4:
				out = l.SendComplete(uint16(next()), now, out)
			case 5:
				out = l.Drain(now, int(next()), out)
			case 6:
				now += Time(op>>4) * 1e9 / 4
			case 7:
				l.Trim()
			case 8:
				l.Outstanding(func(d *Delivery, sent bool) bool { return op&16 != 0 })
			}
			l.check()
			l.Drops()
		}
		checkOutput(t, out, v, c.MaximumPacketSize)
	})
}

// checkOutput decodes all that was sent.
func checkOutput(t *testing.T, out []byte, v mqtt.Version, limit uint32) {
	t.Helper()
	var p mqtt.Packet
	for len(out) > 0 {
		f, n, err := mqtt.Cut(out, 1<<20)
		if err != nil || n == 0 {
			t.Fatalf("no packet in %x: %v", out, err)
		}
		if err := mqtt.Decode(f, v, &p); err != nil {
			t.Fatalf("%x: %v", out[:n], err)
		}
		if err := p.FromServer(v); err != nil {
			t.Fatalf("%x: %v", out[:n], err)
		}
		if limit > 0 && v == mqtt.V5 && uint32(n) > limit {
			t.Fatalf("%x: %d bytes, the client takes %d", out[:n], n, limit)
		}
		out = out[n:]
	}
}
