package cases

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// An answer is what must come back for bad bytes.
type answer func(*testing.T, *harness.Client)

// closed is the end without a word.
func closed(_ *testing.T, c *harness.Client) { c.ExpectClosed() }

// disconnect is a DISCONNECT with one of these reasons, then the end.
func disconnect(rs ...mqtt.Reason) answer {
	return func(t *testing.T, c *harness.Client) {
		t.Helper()
		p := c.Expect(mqtt.DISCONNECT)
		if !contains(rs, p.Disconnect.Reason) {
			t.Errorf("DISCONNECT %v instead of %v", p.Disconnect.Reason, rs)
		}
		c.ExpectClosed()
	}
}

// connack is a CONNACK with one of these reasons, then the end.
func connack(rs ...mqtt.Reason) answer {
	return func(t *testing.T, c *harness.Client) {
		t.Helper()
		p := c.Expect(mqtt.CONNACK)
		if !contains(rs, p.Connack.Reason) || p.Connack.SessionPresent { // [MQTT-3.2.2-6]
			t.Errorf("%s instead of %v", harness.Describe(p), rs)
		}
		c.ExpectClosed()
	}
}

// before5 is the CONNACK of 3.1.1 for a protocol that is not known, then the end.
func before5(t *testing.T, c *harness.Client) {
	t.Helper()
	c.Version = mqtt.V311
	connack(mqtt.UnsupportedProtocolVersion)(t, c)
}

// suback is a SUBACK with these reasons, after which the connection goes on.
func suback(rs ...mqtt.Reason) answer {
	return func(t *testing.T, c *harness.Client) {
		t.Helper()
		p := c.Expect(mqtt.SUBACK)
		if fmt.Sprint(p.Suback.Reasons) != fmt.Sprint(rs) {
			t.Errorf("SUBACK %v instead of %v", p.Suback.Reasons, rs)
		}
		c.ExpectQuiet()
	}
}

// ack is an acknowledgement, after which the connection goes on.
func ack(k mqtt.Kind, id uint16, r mqtt.Reason) answer {
	return func(t *testing.T, c *harness.Client) {
		t.Helper()
		if got := c.ExpectAck(k, id); got != r {
			t.Errorf("%v %v instead of %v", k, got, r)
		}
		c.ExpectQuiet()
	}
}

// quiet is no answer at all; the connection goes on.
func quiet(_ *testing.T, c *harness.Client) { c.ExpectQuiet() }

func contains(rs []mqtt.Reason, r mqtt.Reason) bool {
	for _, x := range rs {
		if x == r {
			return true
		}
	}
	return false
}

// badInput is a row of GUARANTEES section 5, or one of its cases.
type badInput struct {
	number int
	name   string
	at     mqtt.Version // the version to connect with first; 0: send on a bare connection
	send   []byte
	want   answer
}

// deep is a topic of 65,535 levels' slashes.
var deep = strings.Repeat("/", 65535)

// overlong, surrogates and the like: no string of any packet may hold them.
var badText = map[string]string{
	"overlong": "\xC0\xAF", "surrogate": "\xED\xA0\x80", "null": "a\x00b", "cut": "a\xE2\x82", "beyond Unicode": "\xF4\x90\x80\x80",
}

var badInputs = []badInput{
	{1, "PUBLISH first", 0, publish5(0x30, "a", 0, hx("00"), ""), closed}, // [MQTT-3.1.0-1]
	{1, "TLS", 0, hx("16 03 01 02 00 01 00 01 fc 03 03"), closed},
	{1, "HTTP", 0, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), closed},
	{1, "PINGREQ first", 0, hx("c0 00"), closed},

	{2, "length of five bytes", mqtt.V5, hx("30 80 80 80 80 01"), disconnect(mqtt.MalformedPacket)}, // [MQTT-1.5.5-1]
	{2, "length of five bytes, version 3", mqtt.V311, hx("30 80 80 80 80 01"), closed},
	{2, "length not minimal", mqtt.V5, hx("c0 80 00"), disconnect(mqtt.MalformedPacket)},
	{2, "length of five bytes first", 0, hx("10 ff ff ff ff 7f"), closed},

	{3, "256 MB", mqtt.V5, hx("30 ff ff ff 7f"), disconnect(mqtt.PacketTooLarge)},
	{3, "256 MB, version 3", mqtt.V311, hx("30 ff ff ff 7f"), closed},
	{3, "256 MB first", 0, hx("10 ff ff ff 7f"), closed},
	{3, "64 KiB and more first", 0, hx("10 81 80 04"), closed},

	{4, "topic beyond the packet", mqtt.V5, hx("30 04 00 10 61 62"), disconnect(mqtt.MalformedPacket)},
	{4, "no room for an identifier", mqtt.V5, hx("32 04 00 01 61 00"), disconnect(mqtt.MalformedPacket)},
	{4, "properties beyond the packet", mqtt.V5, hx("30 04 00 01 61 05"), disconnect(mqtt.MalformedPacket)},
	{4, "trailing bytes", mqtt.V5, hx("c0 01 00"), disconnect(mqtt.MalformedPacket)},
	{4, "trailing bytes in PUBACK", mqtt.V5, hx("40 05 00 01 00 00 00"), disconnect(mqtt.MalformedPacket)},
	{4, "CONNECT without a client identifier", 0, connect5(2, hx("00")), closed},
	{4, "trailing bytes in CONNECT", 0, connect5(2, hx("00"), text("c"), hx("00")), closed},

	{7, "type 0", mqtt.V5, hx("00 00"), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},
	{7, "type 15 before version 5", mqtt.V311, hx("f0 00"), closed},
	{7, "AUTH without a method", mqtt.V5, hx("f0 00"), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},                                           // [MQTT-4.12.0-1]
	{7, "AUTH of a client that named no method", mqtt.V5, raw(0xf0, hx("19"), props(hx("15"), text("SCRAM-SHA-256"))), disconnect(mqtt.ProtocolError)}, // [MQTT-4.12.0-7]
	{7, "CONNACK", mqtt.V5, hx("20 03 00 00 00"), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},
	{7, "SUBACK", mqtt.V5, hx("90 04 00 01 00 00"), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},
	{7, "UNSUBACK", mqtt.V5, hx("b0 04 00 01 00 00"), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},
	{7, "PINGRESP", mqtt.V5, hx("d0 00"), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},

	{8, "flags of SUBSCRIBE", mqtt.V5, raw(0x80, hx("0001 00"), text("a"), hx("00")), disconnect(mqtt.MalformedPacket)}, // [MQTT-3.8.1-1]
	{8, "flags of PUBREL", mqtt.V5, hx("60 02 00 01"), disconnect(mqtt.MalformedPacket)},                                // [MQTT-3.6.1-1]
	{8, "flags of UNSUBSCRIBE", mqtt.V5, raw(0xa0, hx("0001 00"), text("a")), disconnect(mqtt.MalformedPacket)},         // [MQTT-3.10.1-1]
	{8, "flags of DISCONNECT", mqtt.V5, hx("e1 00"), disconnect(mqtt.MalformedPacket)},                                  // [MQTT-3.14.1-1]
	{8, "flags of SUBSCRIBE, version 3", mqtt.V311, raw(0x80, hx("0001"), text("a"), hx("00")), closed},
	{8, "QoS 3", mqtt.V5, publish5(0x36, "a", 1, hx("00"), ""), disconnect(mqtt.MalformedPacket)},          // [MQTT-3.3.1-4]
	{8, "DUP with QoS 0", mqtt.V5, publish5(0x38, "a", 0, hx("00"), ""), disconnect(mqtt.MalformedPacket)}, // [MQTT-3.3.1-2]
	{8, "QoS 3 of a subscription", mqtt.V5, subscribe5("0001", hx("00"), text("a"), hx("03")), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},
	{8, "reserved option", mqtt.V5, subscribe5("0001", hx("00"), text("a"), hx("40")), disconnect(mqtt.MalformedPacket)}, // [MQTT-3.8.3-5]
	{8, "retain handling 3", mqtt.V5, subscribe5("0001", hx("00"), text("a"), hx("30")), disconnect(mqtt.MalformedPacket, mqtt.ProtocolError)},
	{8, "reserved bit of CONNECT", 0, connect5(3, hx("00"), text("c")), connack(mqtt.MalformedPacket)},                      // [MQTT-3.1.2-3]
	{8, "will QoS without a will", 0, connect5(0x0a, hx("00"), text("c")), connack(mqtt.MalformedPacket)},                   // [MQTT-3.1.2-11]
	{8, "will retain without a will", 0, connect5(0x22, hx("00"), text("c")), connack(mqtt.MalformedPacket)},                // [MQTT-3.1.2-13]
	{8, "will QoS 3", 0, connect5(0x1e, hx("00"), text("c"), hx("00"), text("w"), text("")), connack(mqtt.MalformedPacket)}, // [MQTT-3.1.2-12]

	{9, "second CONNECT", mqtt.V5, connect5(2, hx("00"), text("other")), disconnect(mqtt.ProtocolError)}, // [MQTT-3.1.0-2]
	{9, "second CONNECT, version 3", mqtt.V311, raw(0x10, text("MQTT"), hx("04 02 0000"), text("other")), closed},

	{10, "unknown name", 0, raw(0x10, text("MQTX"), hx("05 02 0000 00"), text("c")), before5}, // [MQTT-3.1.2-1]
	{10, "unknown name, level of 3.1.1", 0, raw(0x10, text("MQTX"), hx("04 02 0000"), text("c")), before5},
	{10, "old level", 0, raw(0x10, text("MQTT"), hx("02 02 0000"), text("c")), before5},
	{10, "level of 3.1 under the new name", 0, raw(0x10, text("MQTT"), hx("03 02 0000"), text("c")), before5},
	{10, "level of 3.1.1 under the old name", 0, raw(0x10, text("MQIsdp"), hx("04 02 0000"), text("c")), before5},
	{10, "unknown level", 0, raw(0x10, text("MQTT"), hx("06 02 0000 00"), text("c")), connack(mqtt.UnsupportedProtocolVersion)}, // [MQTT-3.1.2-2]

	{12, "no topic", mqtt.V5, publish5(0x30, "", 0, hx("00"), "x"), disconnect(mqtt.ProtocolError)}, // [MQTT-4.7.3-1]
	{12, "no topic, version 3", mqtt.V311, hx("30 02 00 00"), closed},
	{12, "wildcard #", mqtt.V5, publish5(0x30, "a/#", 0, hx("00"), "x"), disconnect(mqtt.TopicNameInvalid)}, // [MQTT-3.3.2-2]
	{12, "wildcard +", mqtt.V5, publish5(0x30, "+/a", 0, hx("00"), "x"), disconnect(mqtt.TopicNameInvalid)},
	{12, "wildcard, version 3", mqtt.V311, raw(0x30, text("a/#")), closed},

	{13, "filters", mqtt.V5, subscribe5("0001", hx("00"), text("a#"), hx("00"), text("#/a"), hx("00"), text("good"), hx("01"), text("a+/b"), hx("00"), text(""), hx("00")), // [MQTT-4.7.1-1], [MQTT-4.7.1-2]
		suback(mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid, mqtt.GrantedQoS1, mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid)},
	{13, "filters, version 3", mqtt.V311, raw(0x82, hx("0001"), text("a#"), hx("00"), text("good"), hx("02")), suback(0x80, mqtt.GrantedQoS2)},

	{14, "share filters", mqtt.V5, subscribe5("0001", hx("00"), text("$share/g"), hx("00"), text("$share//t"), hx("00"), text("$share/g+/t"), hx("00"), text("$share/g/"), hx("00"), text("$share/g/ok"), hx("00")), // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
		suback(mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid, mqtt.Success)},
	{14, "no local on a shared one", mqtt.V5, subscribe5("0001", hx("00"), text("$share/g/t"), hx("04")), disconnect(mqtt.ProtocolError)}, // [MQTT-3.8.3-4]

	{15, "deep topic", mqtt.V5, publish5(0x30, deep, 0, hx("00"), "x"), disconnect(mqtt.TopicNameInvalid)},
	{15, "deep filter", mqtt.V5, subscribe5("0001", hx("00"), text(deep), hx("00")), suback(mqtt.TopicFilterInvalid)},

	{16, "PUBLISH 0", mqtt.V5, publish5(0x32, "a", 0, hx("00"), ""), disconnect(mqtt.ProtocolError)}, // [MQTT-2.2.1-3]
	{16, "PUBREL 0", mqtt.V5, hx("62 02 00 00"), disconnect(mqtt.ProtocolError)},
	{16, "SUBSCRIBE 0", mqtt.V5, subscribe5("0000", hx("00"), text("a"), hx("00")), disconnect(mqtt.ProtocolError)},
	{16, "UNSUBSCRIBE 0", mqtt.V5, raw(0xa2, hx("0000 00"), text("a")), disconnect(mqtt.ProtocolError)},
	{16, "PUBLISH 0, version 3", mqtt.V311, raw(0x32, text("a"), hx("0000")), closed},

	{17, "alias 0", mqtt.V5, publish5(0x30, "a", 0, props(hx("23 0000")), ""), disconnect(mqtt.TopicAliasInvalid)},                 // [MQTT-3.3.2-8]
	{17, "alias above the maximum", mqtt.V5, publish5(0x30, "a", 0, props(hx("23 ffff")), ""), disconnect(mqtt.TopicAliasInvalid)}, // [MQTT-3.3.2-9]
	{17, "unknown alias", mqtt.V5, publish5(0x30, "", 0, props(hx("23 0001")), ""), disconnect(mqtt.ProtocolError)},

	{19, "unknown property", mqtt.V5, publish5(0x30, "a", 0, props(hx("7f 00")), ""), disconnect(mqtt.MalformedPacket)},
	{19, "property of another packet", mqtt.V5, publish5(0x30, "a", 0, props(hx("11 00000001")), ""), disconnect(mqtt.MalformedPacket)},
	{19, "duplicate property", mqtt.V5, publish5(0x30, "a", 0, props(hx("02 00000001"), hx("02 00000002")), ""), disconnect(mqtt.ProtocolError)},
	{19, "payload format 2", mqtt.V5, publish5(0x30, "a", 0, props(hx("01 02")), ""), disconnect(mqtt.ProtocolError)},
	{19, "bad value in CONNECT", 0, connect5(2, props(hx("17 02")), text("c")), connack(mqtt.ProtocolError)},
	{19, "duplicate in CONNECT", 0, connect5(2, props(hx("11 00000001"), hx("11 00000001")), text("c")), connack(mqtt.ProtocolError)},

	{20, "60,000 user properties", mqtt.V5, publish5(0x30, "a", 0, props(bytesOf(60000, append([]byte{0x26}, append(text("k"), text("v")...)...))), ""), disconnect(mqtt.QuotaExceeded)},

	{21, "receive maximum 0", 0, connect5(2, props(hx("21 0000")), text("c")), connack(mqtt.ProtocolError)},
	{21, "maximum packet size 0", 0, connect5(2, props(hx("27 00000000")), text("c")), connack(mqtt.ProtocolError)},
	{21, "subscription identifier 0", mqtt.V5, subscribe5("0001", props(hx("0b 00")), text("a"), hx("00")), disconnect(mqtt.ProtocolError)},
	{21, "subscription identifier in PUBLISH", mqtt.V5, publish5(0x30, "a", 0, props(hx("0b 01")), ""), disconnect(mqtt.ProtocolError)}, // [MQTT-3.3.4-6]

	{22, "SUBSCRIBE without filters", mqtt.V5, subscribe5("0001", hx("00")), disconnect(mqtt.ProtocolError)}, // [MQTT-3.8.3-2]
	{22, "UNSUBSCRIBE without filters", mqtt.V5, raw(0xa2, hx("0001 00")), disconnect(mqtt.ProtocolError)},   // [MQTT-3.10.3-2]
	{22, "SUBSCRIBE without filters, version 3", mqtt.V311, hx("82 02 00 01"), closed},

	{27, "PUBREL for nothing", mqtt.V5, hx("62 02 00 07"), ack(mqtt.PUBCOMP, 7, mqtt.PacketIDNotFound)},
	{27, "PUBREC for nothing", mqtt.V5, hx("50 02 00 07"), ack(mqtt.PUBREL, 7, mqtt.PacketIDNotFound)},
	{27, "PUBACK for nothing", mqtt.V5, hx("40 02 00 07"), quiet},
	{27, "PUBCOMP for nothing", mqtt.V5, hx("70 02 00 07"), quiet},

	{58, "response topic with a wildcard", mqtt.V5, publish5(0x30, "a", 0, props(hx("08"), text("a/#")), ""), disconnect(mqtt.ProtocolError)}, // [MQTT-3.3.2-14]
	{59, "expiry raised from 0", mqtt.V5, hx("e0 07 00 05 11 00000001"), disconnect(mqtt.ProtocolError)},
}

func init() {
	for name, s := range badText { // [MQTT-1.5.4-1], [MQTT-1.5.4-2]
		badInputs = append(badInputs,
			badInput{11, "topic, " + name, mqtt.V5, publish5(0x30, s, 0, hx("00"), ""), disconnect(mqtt.MalformedPacket)},
			badInput{11, "topic in version 3, " + name, mqtt.V311, raw(0x30, text(s)), closed},
			badInput{11, "filter, " + name, mqtt.V5, subscribe5("0001", hx("00"), text(s), hx("00")), disconnect(mqtt.MalformedPacket)},
			badInput{11, "user property, " + name, mqtt.V5, publish5(0x30, "a", 0, props(hx("26"), text(s), text("v")), ""), disconnect(mqtt.MalformedPacket)},
			badInput{11, "client identifier, " + name, 0, connect5(2, hx("00"), text(s)), connack(mqtt.MalformedPacket)},
			badInput{11, "will topic, " + name, 0, connect5(6, hx("00"), text("c"), hx("00"), text(s), text("")), connack(mqtt.MalformedPacket)},
		)
	}
}

func bytesOf(n int, b []byte) []byte {
	out := make([]byte, 0, n*len(b))
	for range n {
		out = append(out, b...)
	}
	return out
}

// inputs is the test of a case that is bad bytes: each sent on a connection of its own, it
// has its answer.
func inputs(number int) func(*testing.T, *place) {
	return func(t *testing.T, p *place) {
		for _, c := range badInputs {
			if c.number != number {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				var cl *harness.Client
				if c.at == 0 {
					cl = p.sub.dial(t)
				} else {
					cl = p.sub.connect(t, mqtt.Connect{Version: c.at, CleanStart: true})
				}
				cl.SendBytes(c.send)
				c.want(t, cl)
			})
		}
	}
}

// hello is a CONNECT that all nodes take.
func hello() []byte { return connect5(2, hx("00"), text("")) }

// announced: what is announced and does not come takes no memory, neither before CONNECT
// nor after it.
func announced(t *testing.T, p *place) {
	const each, connect, most = 50, 65_535, 1_032_191
	before := p.sub.node.Held().Heap
	for range each {
		p.sub.dial(t).SendBytes(append([]byte{0x10}, vint(connect)...))
		p.sub.connect(t, mqtt.Connect{CleanStart: true}).SendBytes(append([]byte{0x30}, vint(most)...))
	}
	if now := p.sub.node.Held().Heap; now > before+each*most/4 {
		t.Errorf("%d bytes of heap were %d", before, now)
	}
}

// propertyFlood: 60,000 user properties are refused in a time that does not grow with
// their square, whoever sends them again and again.
func propertyFlood(t *testing.T, p *place) {
	b := publish5(0x30, "a", 0, props(bytesOf(60000, append([]byte{0x26}, append(text("k"), text("v")...)...))), "")
	for range 20 {
		c := p.sub.connect(t, mqtt.Connect{CleanStart: true})
		c.SendBytes(b)
		c.ExpectDisconnect(mqtt.QuotaExceeded)
	}
}

// unknownIDs: acknowledgements of what was never sent are answered where there is an answer, or
// left out, however many there are, and leave nothing.
func unknownIDs(t *testing.T, p *place) {
	const rounds, each = 40, 100
	c := p.sub.ephemeral(t, "unknown")
	for k := range rounds {
		var b []byte
		for id := range uint16(each) {
			for _, kind := range []mqtt.Kind{mqtt.PUBACK, mqtt.PUBCOMP, mqtt.PUBREC, mqtt.PUBREL} {
				b = (&mqtt.Ack{Kind: kind, PacketID: uint16(k)*each + id + 1}).Append(b, mqtt.V5)
			}
		}
		c.SendBytes(b)
		for id := range uint16(each) {
			for _, kind := range []mqtt.Kind{mqtt.PUBREL, mqtt.PUBCOMP} {
				if r := c.ExpectAck(kind, uint16(k)*each+id+1); r != mqtt.PacketIDNotFound {
					t.Fatalf("%v: %v", kind, r)
				}
			}
		}
	}
	c.ExpectQuiet()
}

// notText: a payload that is not what it says it is may be checked; then it is told.
func notText(t *testing.T, p *place) {
	c := p.sub.ephemeral(t, "not-text")
	c.SendBytes(publish5(0x32, "text", 1, props(hx("01 01")), "\xC3\x28"))
	if got := c.Expect(mqtt.PUBACK).Ack.Reason; got >= mqtt.Unspecified && got != mqtt.PayloadFormatInvalid {
		t.Errorf("PUBACK %v", got)
	}
	c.ExpectQuiet()
}

// afterGoodbye: a message behind DISCONNECT is nobody's.
func afterGoodbye(t *testing.T, p *place) { // [MQTT-3.14.4-1]
	sub := p.sub.ephemeral(t, "late-sub")
	sub.Subscribe("late", 0)
	for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		c := p.pub.connect(t, mqtt.Connect{Version: version, CleanStart: true})
		b := mqtt.Disconnect{}
		late := mqtt.Publish{Topic: []byte("late"), Payload: []byte("late")}
		c.SendBytes(late.Append(b.Append(nil, version), version))
		c.ExpectClosed()
	}
	sub.ExpectQuiet()
}

// junk: every packet cut at every byte, mutated packets and random bytes, on bare and on
// accepted connections.
func junk(t *testing.T, p *place) {
	connect := connect5(0xc6, props(hx("11 00000000")), text("cut"), props(hx("18 00000001")), text("w"), text("x"), text("u"), text("p"))
	packets := [][]byte{
		connect,
		publish5(0x34, "a/b", 9, props(hx("01 01"), hx("02 0000000a"), hx("03"), text("t"), hx("08"), text("r"), hx("09"), text("c"), hx("26"), text("k"), text("v")), "payload"),
		subscribe5("0002", props(hx("0b 05")), text("a/+"), hx("2d"), text("$share/g/a"), hx("01")),
		raw(0xa2, hx("0003 00"), text("a/+")),
		hx("62 04 00 09 00 00"),
		hx("c0 00"),
		hx("e0 02 00 00"),
	}
	send := func(accepted bool, b []byte) {
		t.Helper()
		conn, err := p.sub.open(t)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := harness.Over(t, conn)
		if accepted {
			c.Greet(mqtt.Connect{CleanStart: true})
		}
		c.SendBytes(b)
	}
	for _, packet := range packets {
		for cut := 1; cut < len(packet); cut++ {
			send(packet[0] != 0x10, packet[:cut])
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for i := range 200 {
		b := make([]byte, 1+rnd.IntN(300))
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		if i%3 > 0 { // a mutated packet
			b = append([]byte(nil), packets[rnd.IntN(len(packets))]...)
			for range 1 + rnd.IntN(3) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
		}
		send(i%2 > 0, b)
	}
	p.sweep(t)
}

// sweep clears all that is retained: for cases of which nobody knows what they leave.
func (p *place) sweep(t *testing.T) {
	t.Helper()
	c := p.sub.ephemeral(t, "sweeper")
	harness.Eventually(t, "nothing is retained", func() error {
		c.SubscribeAll(mqtt.Subscription{Filter: []byte("#")})
		// What the bystander sends comes as well, and does not end.
		for end := time.Now().Add(100 * time.Millisecond); ; {
			m, err := c.Poll(time.Until(end))
			if err != nil {
				break
			}
			if m.Kind == mqtt.PUBLISH && m.Publish.Retain {
				c.Send(&mqtt.Publish{Topic: m.Publish.Topic, Retain: true})
			}
		}
		if n := p.sub.node.Metrics()["dunlin_store_retained_messages"]; n > 0 {
			return fmt.Errorf("%v messages are", n)
		}
		return nil
	})
}
