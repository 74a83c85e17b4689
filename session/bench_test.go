package session

import (
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// steady is one connection in steady traffic: each run of a step leaves it as it
// was.
type steady struct {
	name string
	step func()
}

// steadies are the steps whose cost per message counts.
func steadies(tb testing.TB) []steady {
	topic, err := router.ParseTopic([]byte("sensors/floor3/room12/temp"))
	if err != nil {
		tb.Fatal(err)
	}
	out := make([]byte, 0, 1<<16)
	limits := Limits{ReceiveMaximum: 100, MaxInflight: 100, MaxQueueMessages: 1000, MaxQueueBytes: 1 << 20, TopicAliasMaximum: 10, SendAliasMaximum: 10}
	begin := func(v mqtt.Version, c mqtt.Connect) *Live {
		c.Version = v
		l := new(Live)
		l.Connect(&c, limits, false, 0)
		return l
	}
	ack := func(kind mqtt.Kind) *mqtt.Packet {
		return &mqtt.Packet{Kind: kind, Ack: mqtt.Ack{Kind: kind}}
	}
	var ss []steady
	add := func(name string, step func()) { ss = append(ss, steady{name, step}) }

	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		suffix := map[mqtt.Version]string{mqtt.V311: "/v3", mqtt.V5: "/v5"}[v]
		{
			l := begin(v, mqtt.Connect{})
			p := mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{Topic: []byte(topic.String()), Payload: make([]byte, 128)}}
			add("receive0"+suffix, func() { _, out = l.Receive(&p, 0, out[:0]) })
		}
		{
			l := begin(v, mqtt.Connect{})
			p := mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{QoS: 1, Topic: []byte(topic.String()), Payload: make([]byte, 128)}}
			add("receive1"+suffix, func() {
				p.Publish.PacketID = max(1, p.Publish.PacketID+1)
				_, out = l.Receive(&p, 0, out[:0])
				l.Published(p.Publish.PacketID, 0)
				out = l.Answer(out)
			})
		}
		{
			l := begin(v, mqtt.Connect{})
			p := mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{QoS: 2, Topic: []byte(topic.String()), Payload: make([]byte, 128)}}
			rel := ack(mqtt.PUBREL)
			add("receive2"+suffix, func() {
				p.Publish.PacketID = max(1, p.Publish.PacketID+1)
				rel.Ack.PacketID = p.Publish.PacketID
				_, out = l.Receive(&p, 0, out[:0])
				l.Published(p.Publish.PacketID, 0)
				out = l.Answer(out)
				_, out = l.Receive(rel, 0, out)
			})
		}
		for _, handle := range []uint64{0, 9} {
			suffix := suffix
			if handle != 0 {
				suffix = "/handle" + suffix
			}
			m := Message{Topic: topic, Payload: make([]byte, 128)}
			{
				l := begin(v, mqtt.Connect{})
				d := Delivery{Message: &m}
				add("deliver0"+suffix, func() { _, out = l.Deliver(&d, true, 0, out[:0]) })
			}
			{
				l := begin(v, mqtt.Connect{})
				d, puback := Delivery{Message: &m, QoS: 1, Handle: handle}, ack(mqtt.PUBACK)
				add("deliver1"+suffix, func() {
					puback.Ack.PacketID = PacketID(l.next)
					_, out = l.Deliver(&d, true, 0, out[:0])
					_, out = l.Receive(puback, 0, out)
				})
			}
			{
				l := begin(v, mqtt.Connect{})
				d, pubrec, pubcomp := Delivery{Message: &m, QoS: 2, Handle: handle}, ack(mqtt.PUBREC), ack(mqtt.PUBCOMP)
				add("deliver2"+suffix, func() {
					pubrec.Ack.PacketID = PacketID(l.next)
					pubcomp.Ack.PacketID = PacketID(l.next)
					_, out = l.Deliver(&d, true, 0, out[:0])
					_, out = l.Receive(pubrec, 0, out)
					_, out = l.Receive(pubcomp, 0, out)
				})
			}
		}
		{
			// One goes as one comes, behind 50 that wait.
			l := begin(v, mqtt.Connect{ReceiveMaximum: 20})
			if v != mqtt.V5 {
				l.sendMax = 20
			}
			m := Message{Topic: topic, Payload: make([]byte, 128)}
			d, puback := Delivery{Message: &m, QoS: 1}, ack(mqtt.PUBACK)
			for range 70 {
				_, out = l.Deliver(&d, true, 0, out[:0])
			}
			index := uint64(0)
			add("queue1"+suffix, func() {
				puback.Ack.PacketID = PacketID(index)
				index++
				_, out = l.Deliver(&d, true, 0, out[:0])
				_, out = l.Receive(puback, 0, out)
			})
		}
		{
			// One of many subscribers of a message.
			l := begin(v, mqtt.Connect{})
			m, forms := Message{Topic: topic, Payload: make([]byte, 128)}, new(Forms)
			m.Properties = m.Properties.AppendContentType("text/plain").AppendUserProperty("a", "b")
			m.Share(forms)
			d, puback := Delivery{Message: &m, QoS: 1}, ack(mqtt.PUBACK)
			add("fanout1"+suffix, func() {
				puback.Ack.PacketID = PacketID(l.next)
				_, out = l.Deliver(&d, true, 0, out[:0])
				_, out = l.Receive(puback, 0, out)
			})
			n := 0
			add("fanout1/share"+suffix, func() {
				if n++; n%10 == 0 {
					m.Share(forms)
				}
				puback.Ack.PacketID = PacketID(l.next)
				_, out = l.Deliver(&d, true, 0, out[:0])
				_, out = l.Receive(puback, 0, out)
			})
		}
	}
	{
		l := begin(mqtt.V5, mqtt.Connect{TopicAliasMaximum: 5})
		m := Message{Topic: topic, Payload: make([]byte, 128)}
		d := Delivery{Message: &m}
		add("deliver0/alias", func() { _, out = l.Deliver(&d, true, 0, out[:0]) })
		p := mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{TopicAlias: 3}}
		t := []byte(topic.String())
		add("receive0/alias", func() {
			p.Publish.Topic = t
			_, out = l.Receive(&p, 0, out[:0])
			p.Publish.Topic = nil
			_, out = l.Receive(&p, 0, out[:0])
		})
	}
	{
		m := Message{Topic: topic, Payload: make([]byte, 128), HasExpiry: true, Expiry: 60, Origin: 1 << 40, Seq: 1000}
		add("message/append", func() { out = m.Append(out[:0], 0) })
		packed := m.Append(nil, 0)
		var parsed Message
		add("message/parse", func() {
			if _, err := parsed.Parse(packed, 0); err != nil {
				tb.Fatal(err)
			}
		})
	}
	return ss
}

// Steady traffic makes no garbage.
func TestSteadyTrafficAllocatesNothing(t *testing.T) {
	for _, s := range steadies(t) {
		for range 300 {
			s.step()
		}
		if n := testing.AllocsPerRun(500, s.step); n != 0 && !invariants {
			t.Errorf("%s: %v allocations a step", s.name, n)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, s := range steadies(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.step()
			}
		})
	}
}
