package broker

import (
	"testing"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// FuzzConversation has six clients of two nodes say whatever they like, in any order, at
// any time: packets that are right, and bytes that are not. What they are told is what a
// server may say, and when all are gone nothing of them is left (P10, case 60).
func FuzzConversation(f *testing.F) {
	const dial, connect, subscribe, publish, ack, answer, other, pause = 1 << 3, 4 << 3, 5 << 3, 6 << 3, 7 << 3, 8 << 3, 9 << 3, 3 << 3
	f.Add([]byte{dial, 0, connect, 0, subscribe, 8, publish, 4, 1, answer, publish, 8, 1, ack, 2})
	f.Add([]byte{dial, 0, connect, 8, subscribe, 17, 2 << 3, dial, 1, connect, 8, dial + 1, 2, connect + 1, 1, publish + 1, 9, 2, ack + 1, 6, answer})
	f.Add([]byte{dial, 0, connect, 0x19, dial + 1, 3, connect + 1, 0x29, subscribe + 1, 0x0C, 2 << 3, pause, 7, answer + 1, dial, 2, connect, 0x45, publish, 0x18, 1})
	f.Add([]byte{dial, 0, connect, 1, subscribe, 0x0E, dial + 1, 1, connect + 1, 2, subscribe + 1, 0x0E, dial + 2, 0, connect + 2, 3,
		publish + 2, 4, 1, publish + 2, 8, 2, answer, 2 << 3, other + 1, 3})
	f.Add([]byte{dial, 0, 0, 14, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0, 0, 2, 0xC0, 0, other, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1<<10 {
			return
		}
		inBubble(t, func(t *testing.T) { converse(t, script) })
	})
}

// converse carries a script out: a step is a byte, whose low bits say which client and
// whose others what it does, and arguments. Input waits for the next step if its first
// bit is set.
func converse(t *testing.T, script []byte) {
	c := newCell(t, 2, 2, func(o *Options) {
		o.Policy.MaxSessionExpiry = 5
		o.Session.ReceiveMaximum, o.Session.MaxInflight, o.Session.MaxQueueMessages = 5, 3, 10
	})
	c.told = true
	next := func() (b byte) {
		if len(script) > 0 {
			b, script = script[0], script[1:]
		}
		return b
	}
	var people [6]talker
	for len(script) > 0 {
		op := next()
		p := &people[int(op&7)%len(people)]
		what := op >> 3 & 15
		if what == 1 {
			p.leave()
			at := next()
			*p = talker{testConn: c.dial(int(at&1), int(at>>1&1))}
			continue
		}
		if p.testConn == nil || p.closed {
			continue
		}
		switch what {
		case 0:
			n := min(int(next()), len(script))
			p.in, script = append(p.in, script[:n]...), script[n:]
		case 2:
			p.hangUp()
		case 3:
			c.sleep(time.Duration(next()%8) * 500 * time.Millisecond)
		case 4:
			p.connect(next())
		case 5:
			p.subscribe(next())
		case 6:
			p.publish(next(), next())
		case 7:
			b := next()
			a := mqtt.Ack{Kind: mqtt.PUBACK + mqtt.Kind(b&3), PacketID: uint16(1 + b>>2&3)}
			if b>>7 != 0 && p.version == mqtt.V5 {
				a.Reason = []mqtt.Reason{mqtt.Unspecified, mqtt.Unspecified, mqtt.PacketIDNotFound, mqtt.PacketIDNotFound}[b&3]
			}
			p.queue(&a)
		case 8:
			p.answers = !p.answers
		default:
			p.more(next())
		}
		if op>>7 == 0 {
			c.settle()
		}
		for i := range people {
			people[i].hear(t)
		}
	}
	for i := range people {
		people[i].leave()
		people[i].hear(t)
	}
	c.sleep(20 * time.Second)
	for _, n := range c.nodes {
		for _, l := range n.loops {
			w := l.worker()
			if len(l.conns)+w.subscriptions+w.pendings.inUse+len(w.frames)+len(w.errandOf)+w.abroad+len(w.held) > 0 {
				t.Errorf("node %d, loop %d: %d connections, %d subscriptions, %d publishes, %d frames, %d errands, %d abroad, %d held",
					n.index, l.index, len(l.conns), w.subscriptions, w.pendings.inUse, len(w.frames), len(w.errandOf), w.abroad, len(w.held))
			}
		}
		if s := n.table.Stats(); s.Subscriptions+s.Exact+s.Wildcards+s.Groups+s.Remote > 0 {
			t.Errorf("node %d: routes %+v", n.index, s)
		}
		for sh := range n.store.Shards() {
			if page, _, _ := n.store.Sessions(router.ShardID(sh), 0, 10); len(page) > 0 {
				t.Errorf("node %d: sessions %+v", n.index, page)
			}
		}
	}
}

// talker is one client of a conversation.
type talker struct {
	*testConn
	packets int  // that it was told
	last    bool // that was the last
	answers bool // it acknowledges what it gets
}

func (p *talker) leave() {
	if p.testConn != nil && !p.closed {
		p.hangUp()
	}
}

func (p *talker) connect(b byte) {
	c := mqtt.Connect{
		Version: []mqtt.Version{mqtt.V5, mqtt.V5, mqtt.V311, mqtt.V31}[b>>5&3], ClientID: []byte{'a' + b&3}, CleanStart: b>>2&1 != 0,
		SessionExpiry: uint32(b >> 3 & 1 * 4), ReceiveMaximum: 2, TopicAliasMaximum: uint16(b >> 7 * 3),
	}
	if b>>4&1 != 0 {
		c.HasWill, c.Will = true, mqtt.Will{Topic: []byte("a"), Payload: []byte("will"), QoS: mqtt.QoS(b & 1 * 2), Delay: uint32(b >> 1 & 1), Retain: b>>2&1 != 0}
	}
	if p.packets == 0 {
		p.version = c.Version
	}
	p.queue(&c)
}

func (p *talker) subscribe(b byte) {
	of := []string{"a", "b/c", "#", "b/+", "+/c", "$share/g/a", "$share/g/#", "$share/h/b/c"}[b&7]
	p.queue(&mqtt.Subscribe{PacketID: 9, Filters: []mqtt.Subscription{{
		Filter: []byte(of), QoS: mqtt.QoS(b >> 3 & 3 % 3), NoLocal: p.version == mqtt.V5 && b>>5&1 != 0, RetainAsPublished: p.version == mqtt.V5 && b>>6&1 != 0,
	}}})
}

func (p *talker) publish(b, id byte) {
	m := mqtt.Publish{Topic: []byte([]string{"a", "b/c", "c", "$b"}[b&3]), Payload: []byte{id}, QoS: mqtt.QoS(b >> 2 & 3 % 3), Retain: b>>4&1 != 0}
	if m.QoS > 0 {
		m.PacketID, m.Dup = uint16(1+id&3), b>>5&1 != 0
	}
	if p.version == mqtt.V5 {
		m.TopicAlias, m.HasExpiry, m.MessageExpiry = uint16(b>>6&1), b>>7 != 0, 1
	}
	p.queue(&m)
}

func (p *talker) more(b byte) {
	switch b & 3 {
	case 0:
		p.in = mqtt.AppendPingreq(p.in)
	case 1:
		d := mqtt.Disconnect{}
		if p.version == mqtt.V5 {
			d = mqtt.Disconnect{HasSessionExpiry: b>>2&1 != 0, SessionExpiry: uint32(b >> 3 & 3)}
		}
		p.queue(&d)
	case 2:
		p.queue(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("a"), []byte("#"), []byte("$share/g/a")}})
	default:
		if p.version == mqtt.V5 {
			p.queue(&mqtt.Auth{Reason: mqtt.ReAuthenticate, Method: []byte("x")})
		}
	}
}

// hear takes what the client was told, and answers if it does so.
func (p *talker) hear(t *testing.T) {
	t.Helper()
	if p.testConn == nil {
		return
	}
	if p.packets == 0 && len(p.out) > 0 {
		// In whatever version the node has understood.
		if p.version = mqtt.V5; p.out[1] == 2 {
			p.version = mqtt.V311
		}
	}
	for _, m := range p.recv() {
		p.packets++
		if err := m.FromServer(p.version); err != nil || p.last || (p.packets == 1) != (m.Kind == mqtt.CONNACK) {
			t.Fatalf("packet %d is %v: %v, after the last: %v", p.packets, m.Kind, err, p.last)
		}
		p.last = m.Kind == mqtt.DISCONNECT || m.Kind == mqtt.CONNACK && m.Connack.Reason != mqtt.Success
		if p.answers {
			p.answer(m)
		}
	}
}

func (p *talker) answer(m *mqtt.Packet) {
	switch {
	case m.Kind == mqtt.PUBLISH && m.Publish.QoS == 1:
		p.queue(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: m.Publish.PacketID})
	case m.Kind == mqtt.PUBLISH && m.Publish.QoS == 2:
		p.queue(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: m.Publish.PacketID})
	case m.Kind == mqtt.PUBREL:
		p.queue(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: m.Ack.PacketID})
	case m.Kind == mqtt.PUBREC && m.Ack.Reason < mqtt.Unspecified:
		p.queue(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: m.Ack.PacketID})
	}
}
