package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// read does with the packet at the head of b what a server does with a client's:
// cut, decode, ask where it may come from.
func read(b []byte, v Version, p *Packet) error {
	f, _, err := Cut(b, MaxPacketSize)
	if err != nil {
		return err
	}
	if err := Decode(f, v, p); err != nil {
		return err
	}
	return p.FromClient()
}

// connect is a CONNECT of version v with flags, and what follows the keep alive.
func connect(v Version, flags int, fields ...any) []byte {
	name := "MQTT"
	if v == V31 {
		name = "MQIsdp"
	}
	return packet(0x10, name, v, flags, uint16(60), raw(fields...))
}

// publish is a PUBLISH of 5.0 with QoS 0 and properties.
func publish(topic string, properties ...any) []byte {
	return packet(0x30, topic, sized(properties...), []byte("payload"))
}

func repeat(n int, parts ...any) []byte { return []byte(strings.Repeat(string(raw(parts...)), n)) }

var none = sized() // no properties

// The numbers are those of GUARANTEES.md, section 5, as far as one packet alone
// decides.
var refused = []struct {
	number int
	name   string
	v      Version
	bytes  []byte
	reason Reason
}{
	{1, "TLS", V5, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), MalformedPacket},
	{1, "HTTP", V5, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), MalformedPacket},

	{2, "length of five bytes", V5, raw(0x30, 0x80, 0x80, 0x80, 0x80, 0x01), MalformedPacket},
	{2, "length of five bytes, not all there", V5, raw(0x30, 0xFF, 0xFF, 0xFF, 0xFF), MalformedPacket},
	{2, "length not minimal", V5, raw(0xC0, 0x80, 0x00), MalformedPacket},
	{2, "length of 1 in four bytes", V5, raw(0xE0, 0x81, 0x80, 0x80, 0x00, 0), MalformedPacket},
	{2, "property length not minimal", V5, packet(0x30, "a", 0x80, 0x00), MalformedPacket},
	{2, "property length of five bytes", V5, packet(0x30, "a", 0x80, 0x80, 0x80, 0x80, 0x01), MalformedPacket},
	{2, "subscription identifier not minimal", V5, packet(0x82, uint16(1), sized(PropSubscriptionID, 0x81, 0x00), "a", 0), MalformedPacket},

	{4, "empty CONNECT", V5, packet(0x10), MalformedPacket},
	{4, "CONNECT ends in the name", V5, packet(0x10, uint16(4), []byte("MQ")), MalformedPacket},
	{4, "CONNECT ends after the level", V5, packet(0x10, "MQTT", 5), MalformedPacket},
	{4, "CONNECT without client identifier", V5, connect(V5, 2, none), MalformedPacket},
	{4, "CONNECT without properties", V5, connect(V5, 2), MalformedPacket},
	{4, "CONNECT ends in the client identifier", V311, connect(V311, 2, uint16(5), []byte("abcd")), MalformedPacket},
	{4, "CONNECT without will", V311, connect(V311, 0x06, "id"), MalformedPacket},
	{4, "CONNECT without will payload", V311, connect(V311, 0x06, "id", "topic"), MalformedPacket},
	{4, "CONNECT without user name", V311, connect(V311, 0x82, "id"), MalformedPacket},
	{4, "CONNECT without password", V311, connect(V311, 0xC2, "id", "user"), MalformedPacket},
	{4, "CONNECT of 3.1 ends in the user name", V31, connect(V31, 0x82, "id", uint16(4), []byte("us")), MalformedPacket},
	{4, "CONNECT with more", V311, connect(V311, 2, "id", "more"), MalformedPacket},
	{4, "empty PUBLISH", V5, packet(0x30), MalformedPacket},
	{4, "PUBLISH ends in the topic", V5, packet(0x30, uint16(2), []byte("a")), MalformedPacket},
	{4, "PUBLISH without identifier", V311, packet(0x32, "a", 0), MalformedPacket},
	{4, "PUBLISH without properties", V5, packet(0x30, "a"), MalformedPacket},
	{4, "PUBLISH ends in the property length", V5, packet(0x30, "a", 0x80), MalformedPacket},
	{4, "properties beyond PUBLISH", V5, packet(0x30, "a", 3, PropPayloadFormat, 0), MalformedPacket},
	{4, "byte beyond the properties", V5, publish("a", PropPayloadFormat), MalformedPacket},
	{4, "two bytes beyond the properties", V5, publish("a", PropTopicAlias, 1), MalformedPacket},
	{4, "four bytes beyond the properties", V5, publish("a", PropMessageExpiry, 1, 2, 3), MalformedPacket},
	{4, "string beyond the properties", V5, publish("a", PropContentType, uint16(2), 'a'), MalformedPacket},
	{4, "string length beyond the properties", V5, publish("a", PropContentType, 0), MalformedPacket},
	{4, "user property without value", V5, publish("a", PropUser, "name"), MalformedPacket},
	{4, "variable integer beyond the properties", V5, packet(0x82, uint16(1), sized(PropSubscriptionID, 0x80), "a", 0), MalformedPacket},
	{4, "empty PUBACK", V5, packet(0x40), MalformedPacket},
	{4, "PUBACK of one byte", V5, packet(0x40, 0), MalformedPacket},
	{4, "PUBACK of 3.1.1 with more", V311, packet(0x40, uint16(1), 0), MalformedPacket},
	{4, "PUBACK with more", V5, packet(0x40, uint16(1), 0, 0, 0), MalformedPacket},
	{4, "PUBACK ends in the properties", V5, packet(0x40, uint16(1), 0, 1), MalformedPacket},
	{4, "empty SUBSCRIBE", V5, packet(0x82), MalformedPacket},
	{4, "SUBSCRIBE without options", V5, packet(0x82, uint16(1), none, "a"), MalformedPacket},
	{4, "SUBSCRIBE ends in a filter", V5, packet(0x82, uint16(1), none, "a", 0, uint16(2), 'b'), MalformedPacket},
	{4, "SUBSCRIBE without properties", V5, packet(0x82, uint16(1)), MalformedPacket},
	{4, "UNSUBSCRIBE ends in a filter", V5, packet(0xA2, uint16(1), none, "a", uint16(2), 'b'), MalformedPacket},
	{4, "PINGREQ with more", V5, packet(0xC0, 0), MalformedPacket},
	{4, "DISCONNECT of 3.1.1 with more", V311, packet(0xE0, 0), MalformedPacket},
	{4, "DISCONNECT with more", V5, packet(0xE0, 0, none, 0), MalformedPacket},
	{4, "AUTH without properties", V5, packet(0xF0, ContinueAuthentication), MalformedPacket},

	{7, "type 0", V5, packet(0x00), MalformedPacket},
	{7, "type 0 with flags", V311, packet(0x0F), MalformedPacket},
	{7, "AUTH in 3.1.1", V311, packet(0xF0), MalformedPacket},
	{7, "AUTH in 3.1", V31, packet(0xF0), MalformedPacket},
	{7, "AUTH without method", V5, packet(0xF0, ContinueAuthentication, none), ProtocolError},
	{7, "empty AUTH", V5, packet(0xF0), ProtocolError},
	{7, "successful AUTH", V5, packet(0xF0, Success, sized(PropAuthMethod, "m")), ProtocolError},
	{7, "AUTH data without method", V5, packet(0xF0, ContinueAuthentication, sized(PropAuthData, "d")), ProtocolError},
	{7, "CONNECT with data without method", V5, connect(V5, 2, sized(PropAuthData, "d"), "id"), ProtocolError},
	{7, "CONNACK", V5, packet(0x20, 0, 0, none), ProtocolError},
	{7, "SUBACK", V5, packet(0x90, uint16(1), none, 0), ProtocolError},
	{7, "UNSUBACK", V5, packet(0xB0, uint16(1), none, 0), ProtocolError},
	{7, "UNSUBACK of 3.1.1", V311, packet(0xB0, uint16(1)), ProtocolError},
	{7, "PINGRESP", V5, packet(0xD0), ProtocolError},
	{7, "DISCONNECT with a server's reason", V5, packet(0xE0, ServerBusy), ProtocolError},
	{7, "DISCONNECT with server reference", V5, packet(0xE0, 0, sized(PropServerReference, "")), ProtocolError},

	{8, "CONNECT with flags", V5, packet(0x11, "MQTT", 5, 2, uint16(0), none, "id"), MalformedPacket},
	{8, "PUBACK with flags", V5, packet(0x42, uint16(1)), MalformedPacket},
	{8, "PUBREL without flags", V5, packet(0x60, uint16(1)), MalformedPacket},
	{8, "PUBREL with DUP", V311, packet(0x6A, uint16(1)), MalformedPacket},
	{8, "SUBSCRIBE without flags", V5, packet(0x80, uint16(1), none, "a", 0), MalformedPacket},
	{8, "SUBSCRIBE of 3.1 without flags", V31, packet(0x80, uint16(1), "a", 0), MalformedPacket},
	{8, "SUBSCRIBE with QoS 3", V5, packet(0x86, uint16(1), none, "a", 0), MalformedPacket},
	{8, "UNSUBSCRIBE without flags", V5, packet(0xA0, uint16(1), none, "a"), MalformedPacket},
	{8, "PINGREQ with flags", V5, packet(0xC1), MalformedPacket},
	{8, "DISCONNECT with flags", V311, packet(0xE8), MalformedPacket},
	{8, "AUTH with flags", V5, packet(0xF1, ContinueAuthentication, sized(PropAuthMethod, "m")), MalformedPacket},
	{8, "PUBLISH with QoS 3", V5, packet(0x36, "a", uint16(1), none), MalformedPacket},
	{8, "PUBLISH with DUP and QoS 0", V311, packet(0x38, "a"), MalformedPacket},
	{8, "reserved CONNECT flag", V311, connect(V311, 0x03, "id"), MalformedPacket},
	{8, "will QoS without will", V5, connect(V5, 0x0A, none, "id"), MalformedPacket},
	{8, "will retain without will", V311, connect(V311, 0x22, "id"), MalformedPacket},
	{8, "will QoS 3", V311, connect(V311, 0x1E, "id", "w", "p"), MalformedPacket},
	{8, "password without user name", V311, connect(V311, 0x42, "id", "secret"), MalformedPacket},
	{8, "reserved subscription option", V5, packet(0x82, uint16(1), none, "a", 0x40), MalformedPacket},
	{8, "5.0 option in 3.1.1", V311, packet(0x82, uint16(1), "a", 0x04), MalformedPacket},
	{8, "subscription with QoS 3", V5, packet(0x82, uint16(1), none, "a", 3), ProtocolError},
	{8, "retain handling 3", V5, packet(0x82, uint16(1), none, "a", 0x30), ProtocolError},

	{10, "unknown name", V311, packet(0x10, "MQTX", 4, 2, uint16(0), "id"), UnsupportedProtocolVersion},
	{10, "lower case", V311, packet(0x10, "mqtt", 4, 2, uint16(0), "id"), UnsupportedProtocolVersion},
	{10, "empty name", V311, packet(0x10, "", 4, 2, uint16(0), "id"), UnsupportedProtocolVersion},
	{10, "level 6", V5, packet(0x10, "MQTT", 6, 2, uint16(0), none, "id"), UnsupportedProtocolVersion},
	{10, "level 3 with the name of 4", V311, packet(0x10, "MQTT", 3, 2, uint16(0), "id"), UnsupportedProtocolVersion},
	{10, "level 4 with the name of 3", V311, packet(0x10, "MQIsdp", 4, 2, uint16(0), "id"), UnsupportedProtocolVersion},
	{10, "a bridge's level", V311, packet(0x10, "MQTT", 0x84, 2, uint16(0), "id"), UnsupportedProtocolVersion},
	{10, "nothing after the level", V5, packet(0x10, "MQTT", 99), UnsupportedProtocolVersion},

	{11, "overlong topic", V311, packet(0x30, "a\xC0\xAF"), MalformedPacket},
	{11, "surrogate in a topic", V5, publish("a\xED\xA0\x80"), MalformedPacket},
	{11, "U+0000 in a topic", V5, publish("abcdefgh/\x00"), MalformedPacket},
	{11, "cut sequence in a topic", V5, publish("abcdefgh\xE2\x82"), MalformedPacket},
	{11, "wildcard beside what is not UTF-8", V5, publish("#\xFF"), MalformedPacket},
	{11, "beyond U+10FFFF", V311, packet(0x30, "\xF4\x90\x80\x80"), MalformedPacket},
	{11, "client identifier", V311, connect(V311, 2, "\xFF"), MalformedPacket},
	{11, "user name", V5, connect(V5, 0x82, none, "id", "a\x00"), MalformedPacket},
	{11, "will topic", V5, connect(V5, 0x06, none, "id", none, "\x80", "p"), MalformedPacket},
	{11, "filter", V311, packet(0x82, uint16(1), "\xED\xBF\xBF", 0), MalformedPacket},
	{11, "filter to unsubscribe", V5, packet(0xA2, uint16(1), none, "\x00"), MalformedPacket},
	{11, "content type", V5, publish("a", PropContentType, "\xFF"), MalformedPacket},
	{11, "response topic", V5, publish("a", PropResponseTopic, "\xFF#"), MalformedPacket},
	{11, "user property's name", V5, publish("a", PropUser, "\x00", "b"), MalformedPacket},
	{11, "user property's value", V5, publish("a", PropUser, "b", "\xC1\x81"), MalformedPacket},
	{11, "reason string", V5, packet(0x40, uint16(1), 0, sized(PropReasonString, "\xFF")), MalformedPacket},
	{11, "authentication method", V5, packet(0xF0, ContinueAuthentication, sized(PropAuthMethod, "\xFF")), MalformedPacket},

	{12, "no topic", V311, packet(0x30, ""), ProtocolError},
	{12, "no topic, no alias", V5, publish("", PropPayloadFormat, 1), ProtocolError},
	{12, "+ in a topic", V311, packet(0x30, "a/+"), TopicNameInvalid},
	{12, "# in a topic", V5, publish("#"), TopicNameInvalid},
	{12, "# at the end of a long topic", V5, publish("sensors/floor3/room12/#"), TopicNameInvalid},
	{12, "+ beside an umlaut", V5, publish("+/ä"), TopicNameInvalid},
	{12, "+ in a topic with alias", V5, publish("+", PropTopicAlias, uint16(1)), TopicNameInvalid},
	{42, "will topic with wildcard", V5, connect(V5, 0x06, none, "id", none, "a/#", "p"), TopicNameInvalid},
	{42, "no will topic", V5, connect(V5, 0x06, none, "id", none, "", "p"), TopicNameInvalid},

	{16, "PUBLISH", V5, packet(0x32, "a", uint16(0), none), ProtocolError},
	{16, "PUBLISH of 3.1.1", V311, packet(0x34, "a", uint16(0)), ProtocolError},
	{16, "PUBACK", V5, packet(0x40, uint16(0)), ProtocolError},
	{16, "PUBREC", V5, packet(0x50, uint16(0)), ProtocolError},
	{16, "PUBREL", V311, packet(0x62, uint16(0)), ProtocolError},
	{16, "PUBCOMP", V5, packet(0x70, uint16(0)), ProtocolError},
	{16, "SUBSCRIBE", V5, packet(0x82, uint16(0), none, "a", 0), ProtocolError},
	{16, "UNSUBSCRIBE", V311, packet(0xA2, uint16(0), "a"), ProtocolError},

	{17, "topic alias 0", V5, publish("a", PropTopicAlias, uint16(0)), TopicAliasInvalid},

	{19, "unknown property", V5, publish("a", 0x7E, 0), MalformedPacket},
	{19, "property 0", V5, publish("a", 0x00), MalformedPacket},
	{19, "property in a gap", V5, publish("a", 0x04, 0), MalformedPacket},
	{19, "identifier of two bytes", V5, publish("a", 0x81, 0x01, 0), MalformedPacket},
	{19, "session expiry in PUBLISH", V5, publish("a", PropSessionExpiry, uint32(1)), MalformedPacket},
	{19, "topic alias in a will", V5, connect(V5, 0x06, none, "id", sized(PropTopicAlias, uint16(1)), "w", "p"), MalformedPacket},
	{19, "will delay in CONNECT", V5, connect(V5, 2, sized(PropWillDelay, uint32(1)), "id"), MalformedPacket},
	{19, "will delay in PUBLISH", V5, publish("a", PropWillDelay, uint32(1)), MalformedPacket},
	{19, "reason string in SUBSCRIBE", V5, packet(0x82, uint16(1), sized(PropReasonString, "x"), "a", 0), MalformedPacket},
	{19, "subscription identifier in UNSUBSCRIBE", V5, packet(0xA2, uint16(1), sized(PropSubscriptionID, 1), "a"), MalformedPacket},
	{19, "content type in PUBACK", V5, packet(0x40, uint16(1), 0, sized(PropContentType, "x")), MalformedPacket},
	{19, "assigned client identifier in CONNECT", V5, connect(V5, 2, sized(PropAssignedClientID, "x"), "id"), MalformedPacket},
	{19, "duplicate content type", V5, publish("a", PropContentType, "x", PropContentType, "x"), ProtocolError},
	{19, "duplicate topic alias", V5, publish("a", PropTopicAlias, uint16(1), PropTopicAlias, uint16(1)), ProtocolError},
	{19, "duplicate session expiry", V5, connect(V5, 2, sized(PropSessionExpiry, uint32(0), PropSessionExpiry, uint32(0)), "id"), ProtocolError},
	{19, "duplicate will delay", V5, connect(V5, 6, none, "id", sized(PropWillDelay, uint32(0), PropWillDelay, uint32(0)), "w", "p"), ProtocolError},
	{19, "duplicate subscription identifier", V5, packet(0x82, uint16(1), sized(PropSubscriptionID, 1, PropSubscriptionID, 2), "a", 0), ProtocolError},
	{19, "duplicate reason string", V5, packet(0x50, uint16(1), 0, sized(PropReasonString, "", PropReasonString, "")), ProtocolError},
	{19, "payload format 2", V5, publish("a", PropPayloadFormat, 2), ProtocolError},
	{19, "request problem information 2", V5, connect(V5, 2, sized(PropRequestProblemInfo, 2), "id"), ProtocolError},
	{19, "request response information 2", V5, connect(V5, 2, sized(PropRequestResponseInfo, 2), "id"), ProtocolError},
	{19, "reason that PUBACK does not have", V5, packet(0x40, uint16(1), PacketIDNotFound), ProtocolError},
	{19, "reason that PUBREL does not have", V5, packet(0x62, uint16(1), NotAuthorized), ProtocolError},
	{19, "reason that nothing has", V5, packet(0xE0, 0x42), ProtocolError},

	{20, "60,000 user properties", V5, publish("a", repeat(60_000, PropUser, "a", "b")), QuotaExceeded},
	{20, "one user property too many", V5, publish("a", repeat(MaxUserProperties+1, PropUser, "", "")), QuotaExceeded},
	{20, "user properties too long", V5, publish("a", repeat(3, PropUser, strings.Repeat("a", MaxUserPropertyBytes/3), "")), QuotaExceeded},
	{20, "in CONNECT", V5, connect(V5, 2, sized(repeat(60_000, PropUser, "", "")), "id"), QuotaExceeded},
	{20, "in a will", V5, connect(V5, 6, none, "id", sized(repeat(60_000, PropUser, "", "")), "w", "p"), QuotaExceeded},

	{21, "receive maximum 0", V5, connect(V5, 2, sized(PropReceiveMaximum, uint16(0)), "id"), ProtocolError},
	{21, "maximum packet size 0", V5, connect(V5, 2, sized(PropMaximumPacketSize, uint32(0)), "id"), ProtocolError},
	{21, "subscription identifier 0", V5, packet(0x82, uint16(1), sized(PropSubscriptionID, 0), "a", 0), ProtocolError},
	{21, "subscription identifier from a client", V5, publish("a", PropSubscriptionID, 1), ProtocolError},

	{22, "SUBSCRIBE without filters", V5, packet(0x82, uint16(1), none), ProtocolError},
	{22, "SUBSCRIBE of 3.1.1 without filters", V311, packet(0x82, uint16(1)), ProtocolError},
	{22, "UNSUBSCRIBE without filters", V5, packet(0xA2, uint16(1), none), ProtocolError},

	{58, "response topic with +", V5, publish("a", PropResponseTopic, "a/+"), ProtocolError},
	{58, "response topic with # in a will", V5, connect(V5, 6, none, "id", sized(PropResponseTopic, "#"), "w", "p"), ProtocolError},
	{58, "empty response topic", V5, publish("a", PropResponseTopic, ""), ProtocolError},

	{0, "3.1 without client identifier", V31, connect(V31, 2, ""), ClientIDNotValid},
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(fmt.Sprintf("%d/%s", c.number, c.name), func(t *testing.T) {
			var p Packet
			err := read(c.bytes, c.v, &p)
			var refusal *Error
			if !errors.As(err, &refusal) {
				t.Fatalf("%.40x as %v: got %v, want 0x%02X\n%s", c.bytes, c.v, err, uint8(c.reason), describe(&p))
			}
			if refusal.Reason != c.reason {
				t.Errorf("%.40x as %v: got 0x%02X (%v), want 0x%02X", c.bytes, c.v, uint8(refusal.Reason), err, uint8(c.reason))
			}
			if c.number == 10 && p.Connect.Version != c.v {
				t.Errorf("to be answered as %v, want %v", p.Connect.Version, c.v)
			}
			if n := testing.AllocsPerRun(1, func() { _ = read(c.bytes, c.v, &p) }); n > 0 {
				t.Errorf("%v allocations to refuse it", n)
			}
		})
	}
}

// What looks like one of the refused cases and is none.
var accepted = []struct {
	number int
	name   string
	v      Version
	bytes  []byte
}{
	{4, "empty payload", V311, packet(0x30, "a")},
	{4, "PUBACK of 5.0 in two bytes", V5, packet(0x40, uint16(1))},
	{4, "PUBACK of 5.0 in three", V5, packet(0x40, uint16(1), NoMatchingSubscribers)},
	{4, "PUBACK of 5.0 in four", V5, packet(0x40, uint16(1), 0, none)},
	{4, "empty DISCONNECT", V5, packet(0xE0)},
	{4, "DISCONNECT with nothing but a reason", V5, packet(0xE0, DisconnectWithWill)},
	{4, "CONNECT of 3.1 without the user name of its flags", V31, connect(V31, 0xC2, "id")},
	{4, "CONNECT of 3.1 without the password of its flags", V31, connect(V31, 0xC2, "id", "user")},
	{8, "SUBSCRIBE of 3.1 with DUP", V31, packet(0x8A, uint16(1), "a", 0)},
	{8, "UNSUBSCRIBE of 3.1 with DUP", V31, packet(0xAA, uint16(1), "a")},
	{8, "PUBREL of 3.1 with DUP", V31, packet(0x6A, uint16(1))},
	{8, "password without user name in 5.0", V5, connect(V5, 0x42, none, "id", "secret")},
	{11, "characters advised against", V5, publish("\x01\x7F\u0085\uFFFF\U0010FFFF")},
	{11, "byte order mark", V311, packet(0x30, "\uFEFFa")},
	{11, "password of any bytes", V311, connect(V311, 0xC2, "id", "user", "\xFF\x00")},
	{11, "correlation data of any bytes", V5, publish("a", PropCorrelationData, "\xFF\x00")},
	{12, "no topic beside an alias", V5, publish("", PropTopicAlias, uint16(65535))},
	{13, "empty filter", V5, packet(0x82, uint16(1), none, "", 0)},
	{13, "filters that are none", V311, packet(0x82, uint16(1), "a#", 0, "#/a", 1, "a+/b", 2)},
	{13, "empty filter to unsubscribe", V311, packet(0xA2, uint16(1), "")},
	{15, "topic of 65,535 levels", V311, packet(0x30, strings.Repeat("/", 65535))},
	{19, "every option", V5, packet(0x82, uint16(1), none, "a", 0x2E)},
	{19, "user property twice", V5, publish("a", repeat(2, PropUser, "a", "b"))},
	{20, "as many user properties as may be", V5, publish("a", repeat(MaxUserProperties, PropUser, "a", "b"))},
	{21, "largest subscription identifier", V5, packet(0x82, uint16(1), sized(PropSubscriptionID, 0xFF, 0xFF, 0xFF, 0x7F), "a", 0)},
	{22, "10,000 filters", V5, packet(0x82, uint16(1), none, repeat(10_000, "a", 0))},
	{28, "PUBREC with a failure", V5, packet(0x50, uint16(1), QuotaExceeded)},
	{58, "payload that is not the UTF-8 it is said to be", V5, packet(0x30, "a", sized(PropPayloadFormat, 1), 0xFF)},
	{59, "session expiry in DISCONNECT", V5, packet(0xE0, 0, sized(PropSessionExpiry, uint32(1)))},
	{0, "client identifier of 3.1 beyond 23 bytes", V31, connect(V31, 2, strings.Repeat("i", 24))},
	{0, "no client identifier", V311, connect(V311, 2, "")},
	{0, "no client identifier, no clean session", V311, connect(V311, 0, "")},
}

func TestAccepted(t *testing.T) {
	for _, c := range accepted {
		t.Run(fmt.Sprintf("%d/%s", c.number, c.name), func(t *testing.T) {
			var p Packet
			if err := read(c.bytes, c.v, &p); err != nil {
				t.Errorf("%.40x as %v: %v", c.bytes, c.v, err)
			}
		})
	}
}

// What only a server sends is refused from a client, and the reverse.
func TestFromServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		v     Version
		bytes []byte
		err   error
	}{
		{"CONNECT", V5, connect(V5, 2, none, "id"), errFromClient},
		{"SUBSCRIBE", V5, packet(0x82, uint16(1), none, "a", 0), errFromClient},
		{"UNSUBSCRIBE", V5, packet(0xA2, uint16(1), none, "a"), errFromClient},
		{"PINGREQ", V311, packet(0xC0), errFromClient},
		{"DISCONNECT of 3.1.1", V311, packet(0xE0), errFromClient},
		{"DISCONNECT with will", V5, packet(0xE0, DisconnectWithWill), errFromClient},
		{"DISCONNECT with session expiry", V5, packet(0xE0, 0, sized(PropSessionExpiry, uint32(1))), errFromClient},
		{"AUTH that begins", V5, packet(0xF0, ReAuthenticate, sized(PropAuthMethod, "m")), errFromClient},
		{"session present beside a refusal", V5, packet(0x20, 1, NotAuthorized, none), errSessionPresent},
		{"session present beside a refusal of 3.1.1", V311, packet(0x20, 1, 5), errSessionPresent},
		{"CONNACK with flags", V5, packet(0x20, 2, 0, none), errConnackFlags},
		{"CONNACK with a reason of 5.0 only", V311, packet(0x20, 0, NotAuthorized), errReturnCode},
		{"CONNACK with data without method", V5, packet(0x20, 0, 0, sized(PropAuthData, "d")), errNoAuthMethod},
		{"CONNACK with maximum QoS 2", V5, packet(0x20, 0, 0, sized(PropMaximumQoS, 2)), errPropertyValue},
		{"CONNACK with a reason of another packet", V5, packet(0x20, 0, GrantedQoS1, none), errReason},
		{"CONNACK with more", V311, packet(0x20, 0, 0, 0), errTrailing},
		{"SUBACK without reasons", V5, packet(0x90, uint16(1), none), errNoReasons},
		{"SUBACK with a reason of 5.0 only", V311, packet(0x90, uint16(1), NotAuthorized), errReason},
		{"UNSUBACK with a reason of SUBACK", V5, packet(0xB0, uint16(1), none, GrantedQoS1), errReason},
		{"UNSUBACK of 3.1.1 with more", V311, packet(0xB0, uint16(1), 0), errTrailing},
		{"DISCONNECT", V5, packet(0xE0, SessionTakenOver), nil},
		{"PUBLISH with subscription identifiers", V5, publish("a", repeat(3, PropSubscriptionID, 1)), nil},
		{"CONNACK of 3.1 with a byte it does not define", V31, packet(0x20, 1, 0), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Packet
			f, _, err := Cut(c.bytes, MaxPacketSize)
			if err == nil {
				err = Decode(f, c.v, &p)
			}
			if err == nil {
				err = p.FromServer(c.v)
			}
			if !errors.Is(err, c.err) {
				t.Errorf("%x as %v: %v, want %v", c.bytes, c.v, err, c.err)
			}
		})
	}
}

// Case 3: the length alone refuses a packet, whatever of it is there.
func TestCutLimit(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		limit uint32
		n     int
		err   error
	}{
		{"256 MB announced", raw(0x30, 0xFF, 0xFF, 0xFF, 0x7F), 1 << 20, 0, errTooLarge},
		{"256 MB announced and allowed", raw(0x30, 0xFF, 0xFF, 0xFF, 0x7F), MaxPacketSize, 0, nil},
		{"one byte less allowed", raw(0x30, 0xFF, 0xFF, 0xFF, 0x7F), MaxPacketSize - 1, 0, errTooLarge},
		{"as long as allowed", packet(0x40, uint16(1)), 4, 4, nil},
		{"one byte longer", packet(0x40, uint16(1)), 3, 0, errTooLarge},
		{"one byte longer, not there", raw(0x40, 2), 3, 0, errTooLarge},
		{"two bytes of length, as long as allowed", packet(0x30, make([]byte, 200)), 203, 203, nil},
		{"two bytes of length, one byte longer", packet(0x30, make([]byte, 200)), 202, 0, errTooLarge},
		{"length not all there", raw(0x30, 0xFF, 0xFF), 10, 0, nil},
		{"nothing", nil, 10, 0, nil},
	} {
		f, n, err := Cut(c.bytes, c.limit)
		if n != c.n || !errors.Is(err, c.err) {
			t.Errorf("%s: cut %d, %v; want %d, %v", c.name, n, err, c.n, c.err)
		}
		if n > 0 && (len(f.Body) != cap(f.Body) || &f.Body[len(f.Body)-1] != &c.bytes[n-1]) {
			t.Errorf("%s: body does not end where the packet does", c.name)
		}
	}
}

// Case 58: the payload is judged by whoever asks.
func TestCheckPayload(t *testing.T) {
	for _, c := range []struct {
		name       string
		payload    string
		properties Properties
		err        error
	}{
		{"UTF-8", "grün\x00", Properties(nil).AppendPayloadFormat(true), nil},
		{"not UTF-8", "gr\xFCn", Properties(nil).AppendPayloadFormat(true), errPayload},
		{"bytes", "gr\xFCn", Properties(nil).AppendPayloadFormat(false), nil},
		{"nothing said", "gr\xFCn", nil, nil},
	} {
		p := Publish{Topic: []byte("a"), Payload: []byte(c.payload), Properties: c.properties}
		if err := p.CheckPayload(); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
	}
}
