package mqtt

import (
	"math/rand/v2"
	"testing"
)

// random draws valid packets. Sizes are mostly small and now and then beyond
// what one, two or three bytes of length can say.
type random struct{ *rand.Rand }

func (r random) yes() bool { return r.IntN(2) == 0 }

func (r random) length() int {
	switch r.IntN(12) {
	case 0:
		return 0
	case 1:
		return 100 + r.IntN(200)
	default:
		return 1 + r.IntN(20)
	}
}

func (r random) bytes() []byte {
	b := make([]byte, r.length())
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// text is a string of at least atLeast characters of all widths.
func (r random) text(atLeast int) []byte {
	alphabet := []rune("abcdefgh/$ \x01\x7fäßé€日本\uFEFF\uFFFF\uD7FF\uE000😀\U0010FFFF")
	var s []rune
	for range max(atLeast, r.length()) {
		s = append(s, alphabet[r.IntN(len(alphabet))])
	}
	return []byte(string(s))
}

func (r random) number() uint32 { return r.Uint32() >> r.IntN(32) }

func (r random) id() uint16 { return uint16(1 + r.IntN(65535)) }

func (r random) users(ps Properties) Properties {
	for range r.IntN(3) {
		ps = ps.AppendUserProperty(string(r.text(0)), string(r.text(0)))
	}
	return ps
}

func (r random) reasonAndUsers(v Version) (ps Properties) {
	if v != V5 {
		return nil
	}
	if r.yes() {
		ps = ps.AppendReasonString(string(r.text(1)))
	}
	return r.users(ps)
}

func (r random) application(v Version) (ps Properties) {
	if v != V5 || r.yes() {
		return nil
	}
	if r.yes() {
		ps = ps.AppendPayloadFormat(r.yes())
	}
	if r.yes() {
		ps = ps.AppendContentType(string(r.text(1)))
	}
	if r.yes() {
		ps = ps.AppendResponseTopic(string(r.text(1)))
	}
	if r.yes() {
		ps = ps.AppendCorrelationData(r.text(1))
	}
	return r.users(ps)
}

// reason is a code that kind may carry as version v.
func (r random) reason(kind Kind, v Version) Reason {
	for {
		reason := Reason(r.Uint32())
		if !reason.in(kind) {
			continue
		}
		if v == V5 {
			return reason
		}
		switch kind {
		case CONNACK:
			return returnCodes[r.IntN(len(returnCodes))]
		case SUBACK:
			return []Reason{GrantedQoS1, GrantedQoS2, Success, Unspecified}[r.IntN(4)]
		default:
			return Success
		}
	}
}

func (r random) packet(kind Kind, v Version) *Packet {
	p := &Packet{Kind: kind}
	switch kind {
	case CONNECT:
		p.Connect = r.connect(v)
	case CONNACK:
		p.Connack = r.connack(v)
	case PUBLISH:
		p.Publish = r.publish(v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.Ack = Ack{Kind: kind, PacketID: r.id(), Reason: r.reason(kind, v), Properties: r.reasonAndUsers(v)}
	case SUBSCRIBE:
		p.Subscribe = r.subscribe(v)
	case SUBACK, UNSUBACK:
		p.Suback = Suback{Kind: kind, PacketID: r.id(), Properties: r.reasonAndUsers(v)}
		for range 1 + r.IntN(3) {
			if kind == SUBACK || v == V5 {
				p.Suback.Reasons = append(p.Suback.Reasons, r.reason(kind, v))
			}
		}
	case UNSUBSCRIBE:
		p.Unsubscribe = Unsubscribe{PacketID: r.id()}
		if v == V5 {
			p.Unsubscribe.Properties = r.users(nil)
		}
		for range 1 + r.IntN(3) {
			p.Unsubscribe.Filters = append(p.Unsubscribe.Filters, r.text(1))
		}
	case DISCONNECT:
		if v == V5 {
			p.Disconnect = Disconnect{Reason: r.reason(kind, v), Properties: r.users(nil)}
			if r.yes() {
				p.Disconnect.HasSessionExpiry, p.Disconnect.SessionExpiry = true, r.number()
			}
			if r.yes() {
				p.Disconnect.ReasonString, p.Disconnect.ServerReference = r.text(0), r.text(0)
			}
		}
	case AUTH:
		p.Auth = Auth{Reason: r.reason(kind, v), Method: r.text(1), Data: r.bytes(), ReasonString: r.text(0), Properties: r.users(nil)}
	}
	return p
}

func (r random) connect(v Version) Connect {
	c := Connect{
		Version: v, CleanStart: r.yes(), KeepAlive: uint16(r.number()), ClientID: r.text(1),
		ReceiveMaximum: 65535, RequestProblemInfo: true,
	}
	if r.yes() {
		c.HasUsername, c.Username = true, r.text(0)
	}
	if r.yes() && (c.HasUsername || v == V5) {
		c.HasPassword, c.Password = true, r.bytes()
	}
	if r.yes() {
		c.HasWill = true
		c.Will = Will{QoS: QoS(r.IntN(3)), Retain: r.yes(), Topic: r.text(1), Payload: r.bytes(), Properties: r.application(v)}
		if v == V5 && r.yes() {
			c.Will.Delay, c.Will.HasExpiry, c.Will.MessageExpiry = r.number(), true, r.number()
		}
	}
	if v == V5 {
		c.SessionExpiry, c.ReceiveMaximum = r.number(), r.id()
		c.MaximumPacketSize, c.TopicAliasMaximum = r.number(), uint16(r.number())
		c.RequestResponseInfo, c.RequestProblemInfo = r.yes(), r.yes()
		if r.yes() {
			c.HasAuthMethod, c.AuthMethod, c.AuthData = true, r.text(1), r.bytes()
		}
		c.Properties = r.users(nil)
	}
	return c
}

func (r random) connack(v Version) Connack {
	c := Connack{Reason: r.reason(CONNACK, v)}
	c.SessionPresent = v != V31 && c.Reason == Success && r.yes()
	if v != V5 {
		return c
	}
	if r.yes() {
		c.HasSessionExpiry, c.SessionExpiry = true, r.number()
		c.HasMaximumQoS, c.MaximumQoS = true, QoS(r.IntN(2))
		c.HasServerKeepAlive, c.ServerKeepAlive = true, uint16(r.number())
	}
	if r.yes() {
		c.AuthMethod, c.AuthData = r.text(1), r.bytes()
		c.AssignedClientID, c.ResponseInfo, c.ServerReference, c.ReasonString = r.text(0), r.text(0), r.text(0), r.text(0)
	}
	c.ReceiveMaximum, c.MaximumPacketSize, c.TopicAliasMaximum = uint16(r.number()), r.number(), uint16(r.number())
	c.RetainUnavailable, c.NoWildcard, c.NoSubscriptionIDs, c.NoShared = r.yes(), r.yes(), r.yes(), r.yes()
	c.Properties = r.users(nil)
	return c
}

func (r random) publish(v Version) Publish {
	p := Publish{QoS: QoS(r.IntN(3)), Retain: r.yes(), Topic: r.text(1), Payload: r.bytes(), Properties: r.application(v)}
	if p.QoS > 0 {
		p.PacketID, p.Dup = r.id(), r.yes()
	}
	if v == V5 && r.yes() {
		p.TopicAlias = uint16(r.number())
		p.HasExpiry, p.MessageExpiry = true, r.number()
		if p.TopicAlias > 0 && r.yes() {
			p.Topic = nil
		}
		for range r.IntN(4) {
			p.SubscriptionIDs = append(p.SubscriptionIDs, 1+r.number()%maxVariable)
		}
	}
	if r.IntN(20) == 0 {
		p.Payload = make([]byte, 1<<r.IntN(22))
	}
	return p
}

func (r random) subscribe(v Version) Subscribe {
	s := Subscribe{PacketID: r.id()}
	if v == V5 {
		s.SubscriptionID = r.number() % (maxVariable + 1)
		s.Properties = r.users(nil)
	}
	for range 1 + r.IntN(3) {
		line := Subscription{Filter: r.text(1), QoS: QoS(r.IntN(3))}
		if v == V5 {
			line.NoLocal, line.RetainAsPublished, line.RetainHandling = r.yes(), r.yes(), uint8(r.IntN(3))
		}
		s.Filters = append(s.Filters, line)
	}
	return s
}

// eachKind runs f for every kind of packet that each version has.
func eachKind(f func(kind Kind, v Version)) {
	for _, v := range []Version{V31, V311, V5} {
		for kind := CONNECT; kind <= AUTH; kind++ {
			if kind != AUTH || v == V5 {
				f(kind, v)
			}
		}
	}
}

func TestRandomPacketsRoundTrip(t *testing.T) {
	r := random{rand.New(rand.NewPCG(1, 2))}
	var got Packet // reused throughout, so that leftovers show
	eachKind(func(kind Kind, v Version) {
		for range 100 {
			sent := r.packet(kind, v)
			b := sent.Append(nil, v)
			f, n, err := Cut(b, MaxPacketSize)
			if err != nil || n != len(b) {
				t.Fatalf("%v %v: cut %d of %d bytes: %v", v, kind, n, len(b), err)
			}
			if err := Decode(f, v, &got); err != nil {
				t.Fatalf("%v: %v\n%s", v, err, describe(sent))
			}
			if want, got := meaning(sent), meaning(&got); want != got {
				t.Fatalf("%v: sent\n%s\ngot\n%s", v, want, got)
			}
			if kind == PUBLISH && sent.Publish.Size(v) != len(b) {
				t.Fatalf("%v: PUBLISH of %d bytes says it takes %d", v, len(b), sent.Publish.Size(v))
			}
			if again := got.Append(nil, v); string(again) != string(b) {
				t.Fatalf("%v %v: encoded\n%x, and again\n%x", v, kind, b, again)
			}
		}
	})
}
