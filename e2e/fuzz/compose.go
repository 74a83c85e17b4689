package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"dunlin/proto/mqtt"
)

// What scripts share, so that they meet: the fewer there are, the more often.
var (
	topics  = []string{"f/a", "f/b", "f/a/b", "f/r/0", "f/r/1", "f/r/2", "f/denied/a", "f//", "f/ü"}
	filters = []string{
		"f/a", "f/b", "f/+", "f/#", "f/+/b", "f/r/#", "+/r/+", "f/denied/#", "f/a/b",
		"$share/g/f/a", "$share/g/f/#", "$share/h/f/+", "$share/g/f/r/+",
		"#", "+/+", "$SYS/#", "f/#/a", "f/a+", "", "$share/g", "$share//f", "$share/+/f",
	}
	methods = []string{"SCRAM-SHA-256", "PLAIN", ""}
)

const (
	clientIDs = 12 // that scripts share
	packetIDs = 6
)

// Compose makes the script of this number of the run with this seed, for a cluster of so
// many nodes.
func Compose(seed, number uint64, nodes int) *Script {
	c := &composer{Rand: rand.New(rand.NewPCG(seed, number))}
	s := &Script{Node: c.IntN(nodes), Way: c.way(), Deaf: c.one(40)}
	packets := c.session()
	clean := c.one(2)
	if !clean {
		packets = c.mutate(packets)
	}
	if s.Way == ByWSS {
		s.Header = c.header()
	}
	s.Steps = c.steps(packets, s.Way)
	s.End = pick(c, Finish, Finish, Reset, Reset, Ping)
	if s.End == Ping && (!clean || c.wrong || s.Deaf || s.Way == Stranger) {
		s.End = Finish // a PINGREQ might be in the midst of something
	}
	if c.one(50) {
		s.End = Stay
	}
	if s.End == Ping {
		s.Pings = c.pings
	}
	return s
}

// composer draws a script.
type composer struct {
	*rand.Rand
	version mqtt.Version
	wrong   bool // something around the packets is
	pings   int  // PINGREQs
}

// one is true once in n times.
func (c *composer) one(n int) bool { return c.IntN(n) == 0 }

func pick[T any](c *composer, of ...T) T { return of[c.IntN(len(of))] }

func (c *composer) way() Way {
	return pick(c, ByTCP, ByTCP, ByTCP, ByTCP, ByTCP, ByWS, ByWS, ByTLS, ByWSS, Way(c.IntN(int(ways))))
}

// header is that of a proxy.
func (c *composer) header() []byte {
	b := []byte("PROXY TCP4 192.0.2.7 192.0.2.8 40000 8084\r\n")
	switch c.IntN(8) {
	case 0:
		return c.flip(b)
	case 1:
		return nil
	case 2, 3:
		b = append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 192, 0, 2, 7, 192, 0, 2, 8, 0x9c, 0x40, 0x1f, 0x94)
		if c.one(3) {
			return c.flip(b)
		}
	}
	return b
}

// session is a session as it might be: packets of the right form for the most part, in an
// order that may be wrong.
func (c *composer) session() (packets [][]byte) {
	c.version = pick(c, mqtt.V5, mqtt.V5, mqtt.V5, mqtt.V311, mqtt.V311, mqtt.V31)
	if !c.one(30) {
		packets = append(packets, c.connect())
	}
	for range c.IntN(24) {
		packets = append(packets, c.packet())
	}
	if c.one(3) {
		packets = append(packets, c.disconnect())
	}
	return packets
}

// packet is anything that may follow on CONNECT.
func (c *composer) packet() []byte {
	switch c.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		return c.publish()
	case 6, 7, 8:
		return c.subscribe()
	case 9:
		return c.unsubscribe()
	case 10, 11, 12, 13:
		return c.ack(mqtt.PUBREL)
	case 14, 15, 16, 17:
		return c.ack(pick(c, mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP))
	case 18:
		c.pings++
		return mqtt.AppendPingreq(nil)
	}
	return c.odd()
}

// odd is what clients hardly send, or must not.
func (c *composer) odd() []byte {
	switch c.IntN(5) {
	case 0:
		return c.connect()
	case 1:
		return mqtt.AppendPingresp(nil)
	case 2:
		return (&mqtt.Suback{Kind: mqtt.SUBACK, PacketID: c.packetID(), Reasons: []mqtt.Reason{mqtt.Success}}).Append(nil, c.version)
	}
	if c.version != mqtt.V5 {
		return c.disconnect()
	}
	a := mqtt.Auth{Reason: pick(c, mqtt.Success, mqtt.ContinueAuthentication, mqtt.ReAuthenticate), Method: []byte(pick(c, methods...))}
	a.Data = []byte(pick(c, "", "n,,n=user,r=nonce", "c=biws,r=nonce,p=proof", "\x00\xff"))
	return a.Append(nil, c.version)
}

func (c *composer) connect() []byte {
	p := mqtt.Connect{
		Version: c.version, CleanStart: c.one(2), KeepAlive: pick[uint16](c, 0, 0, 1, 60), ClientID: c.clientID(),
		SessionExpiry: pick[uint32](c, 0, 0, 1, 5, 0xFFFFFFFF), ReceiveMaximum: pick[uint16](c, 65535, 65535, 1, 3),
		MaximumPacketSize: pick[uint32](c, 0, 0, 0, 30, 1000), TopicAliasMaximum: pick[uint16](c, 0, 5),
		RequestProblemInfo: !c.one(5), RequestResponseInfo: c.one(5),
	}
	if c.one(3) {
		p.HasWill = true
		p.Will = mqtt.Will{
			QoS: mqtt.QoS(c.IntN(3)), Retain: c.one(3), Topic: []byte(pick(c, topics...)), Payload: c.text(),
			Delay: pick[uint32](c, 0, 0, 1, 3), HasExpiry: c.one(4), MessageExpiry: 2, Properties: c.properties(),
		}
	}
	if c.one(6) {
		p.HasUsername, p.Username = true, []byte(pick(c, "ann", "bob", "+", ""))
		p.HasPassword, p.Password = c.one(2), []byte("secret")
	}
	if c.one(15) {
		p.HasAuthMethod, p.AuthMethod, p.AuthData = true, []byte(pick(c, methods...)), []byte("n,,n=user,r=nonce")
	}
	return p.Append(nil, c.version)
}

func (c *composer) clientID() []byte {
	switch c.IntN(20) {
	case 0, 1, 2, 3:
		return nil
	case 4:
		return []byte(pick(c, "#", "+/+", "a\nb", "$f", "../f", strings.Repeat("f", 2000), "\x1b[2J"))
	}
	return fmt.Append(nil, "f", c.IntN(clientIDs))
}

func (c *composer) packetID() uint16 {
	if c.one(50) {
		return uint16(c.Uint32())
	}
	return uint16(1 + c.IntN(packetIDs))
}

func (c *composer) publish() []byte {
	p := mqtt.Publish{QoS: mqtt.QoS(c.IntN(3)), Retain: c.one(5), Topic: []byte(pick(c, topics...)), Payload: c.payload()}
	if p.QoS > 0 {
		p.PacketID, p.Dup = c.packetID(), c.one(5)
	}
	if c.one(30) {
		p.Topic = []byte(pick(c, "f/+", "#", "$SYS/f", "$share/g/f", strings.Repeat("/", 200), strings.Repeat("f", 3000)))
	}
	if c.version == mqtt.V5 {
		if c.one(4) {
			p.TopicAlias = uint16(c.IntN(7))
			if c.one(2) {
				p.Topic = nil
			}
		}
		p.HasExpiry, p.MessageExpiry = c.one(4), pick[uint32](c, 0, 1, 60)
		p.Properties = c.properties()
	}
	return p.Append(nil, c.version)
}

func (c *composer) payload() []byte {
	size := pick(c, 0, 1, 10, 100, 1000)
	if c.one(100) {
		size = 1 << (12 + c.IntN(6))
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(c.Uint32())
	}
	return b
}

// text is a payload where a string belongs.
func (c *composer) text() []byte {
	b := c.payload()
	return b[:min(len(b), 1<<16-1)]
}

// properties are those of an application, rarely a great many.
func (c *composer) properties() (ps mqtt.Properties) {
	if c.version != mqtt.V5 {
		return nil
	}
	if c.one(4) {
		ps = ps.AppendPayloadFormat(c.one(2))
	}
	if c.one(6) {
		ps = ps.AppendResponseTopic(pick(c, topics...)).AppendCorrelationData(c.text())
	}
	users := pick(c, 0, 0, 1, 3)
	if c.one(100) {
		users = 300
	}
	for i := range users {
		ps = ps.AppendUserProperty(fmt.Sprint("k", i), "v")
	}
	return ps
}

func (c *composer) subscribe() []byte {
	p := mqtt.Subscribe{PacketID: c.packetID()}
	if c.version == mqtt.V5 && c.one(3) {
		p.SubscriptionID = uint32(1 + c.IntN(4))
	}
	for range 1 + c.IntN(3) {
		f := mqtt.Subscription{Filter: []byte(pick(c, filters...)), QoS: mqtt.QoS(c.IntN(3))}
		if c.version == mqtt.V5 {
			f.NoLocal, f.RetainAsPublished, f.RetainHandling = c.one(8), c.one(3), uint8(c.IntN(3))
		}
		p.Filters = append(p.Filters, f)
	}
	return p.Append(nil, c.version)
}

func (c *composer) unsubscribe() []byte {
	p := mqtt.Unsubscribe{PacketID: c.packetID()}
	for range 1 + c.IntN(3) {
		p.Filters = append(p.Filters, []byte(pick(c, filters...)))
	}
	return p.Append(nil, c.version)
}

func (c *composer) ack(k mqtt.Kind) []byte {
	a := mqtt.Ack{Kind: k, PacketID: c.packetID()}
	if c.version == mqtt.V5 && c.one(5) {
		a.Reason = pick(c, mqtt.Unspecified, mqtt.QuotaExceeded, mqtt.PacketIDNotFound)
	}
	return a.Append(nil, c.version)
}

func (c *composer) disconnect() []byte {
	d := mqtt.Disconnect{}
	if c.version == mqtt.V5 {
		d.Reason = pick(c, mqtt.Success, mqtt.Success, mqtt.DisconnectWithWill, mqtt.ProtocolError)
		d.HasSessionExpiry, d.SessionExpiry = c.one(3), pick[uint32](c, 0, 1, 0xFFFFFFFF)
	}
	return d.Append(nil, c.version)
}

// steps cuts the packets into writes, as the client's TCP might, and puts waits between.
func (c *composer) steps(packets [][]byte, way Way) (steps []Step) {
	if way.web() {
		steps = append(steps, Step{Write: c.upgrade()})
	}
	var pending []byte
	flush := func() {
		for len(pending) > 0 {
			n := len(pending)
			switch {
			case c.one(6):
				n = 1 + c.IntN(n)
			case c.one(30):
				n = 1
			}
			b := pending[:n:n]
			pending = pending[n:]
			if way.web() {
				b = c.frames(b)
			}
			steps = append(steps, Step{Write: b})
			if c.one(6) {
				steps = append(steps, Step{Pause: time.Duration(1+c.IntN(20)) * time.Millisecond})
			}
		}
	}
	for i, p := range packets {
		pending = append(pending, p...)
		if i == 0 || c.one(3) { // else with the next, in one write
			flush()
			if i == 0 && !c.one(4) || c.one(5) {
				steps = append(steps, Step{Await: true})
			}
		}
	}
	flush()
	if c.one(4) {
		steps = append(steps, Step{Await: true})
	}
	return steps
}
