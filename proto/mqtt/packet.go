package mqtt

import "strconv"

// Version is the protocol level a client names in CONNECT.
type Version uint8

// The protocol levels Dunlin speaks.
const (
	V31  Version = 3 // MQTT 3.1 ("MQIsdp")
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// String is the version as people write it: "3.1.1".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "level " + strconv.Itoa(int(v))
}

// Kind is the control packet type, the high nibble of the first byte.
type Kind uint8

// The fifteen control packets.
const (
	CONNECT Kind = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var kindNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String is the name in the standard: "PUBLISH".
func (k Kind) String() string { return kindNames[k&15] }

// QoS is a delivery guarantee: 0, 1 or 2.
type QoS uint8

// Packet is the decoded form of any control packet: Kind says which member is
// meaningful, the others hold leftovers. One Packet is reused for a whole
// stream; every byte slice in it borrows the bytes it was decoded from.
type Packet struct {
	Kind        Kind
	Connect     Connect
	Connack     Connack
	Publish     Publish
	Ack         Ack // PUBACK, PUBREC, PUBREL, PUBCOMP
	Subscribe   Subscribe
	Suback      Suback // also UNSUBACK
	Unsubscribe Unsubscribe
	Disconnect  Disconnect
	Auth        Auth
}

// Decode reads f as version v into p. What a Version 5 server must refuse is
// an *Error with its reason, and p then holds nothing of use but, for CONNECT,
// the version to answer in. CONNECT names its own version; v is ignored for it.
//
// The cost is linear in the length of f. Only SUBSCRIBE, SUBACK, UNSUBSCRIBE,
// UNSUBACK and subscription identifiers in PUBLISH take memory, in proportion
// to f, and only where p does not hold enough from before.
func Decode(f Frame, v Version, p *Packet) error {
	p.Kind = f.Kind()
	if p.Kind == PUBLISH {
		return p.Publish.decode(f, v)
	}
	if err := checkFlags(f.First, v); err != nil {
		return err
	}
	switch p.Kind {
	case CONNECT:
		return p.Connect.decode(f.Body)
	case CONNACK:
		return p.Connack.decode(f.Body, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return p.Ack.decode(f, v)
	case SUBSCRIBE:
		return p.Subscribe.decode(f.Body, v)
	case SUBACK, UNSUBACK:
		return p.Suback.decode(f, v)
	case UNSUBSCRIBE:
		return p.Unsubscribe.decode(f.Body, v)
	case DISCONNECT:
		return p.Disconnect.decode(f.Body, v)
	case AUTH:
		return p.Auth.decode(f.Body, v)
	default: // PINGREQ, PINGRESP
		if len(f.Body) != 0 {
			return errTrailing
		}
		return nil
	}
}

// Append appends p as version v.
func (p *Packet) Append(dst []byte, v Version) []byte {
	switch p.Kind {
	case CONNECT:
		return p.Connect.Append(dst, v)
	case CONNACK:
		return p.Connack.Append(dst, v)
	case PUBLISH:
		return p.Publish.Append(dst, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return p.Ack.Append(dst, v)
	case SUBSCRIBE:
		return p.Subscribe.Append(dst, v)
	case SUBACK, UNSUBACK:
		return p.Suback.Append(dst, v)
	case UNSUBSCRIBE:
		return p.Unsubscribe.Append(dst, v)
	case PINGREQ:
		return AppendPingreq(dst)
	case PINGRESP:
		return AppendPingresp(dst)
	case DISCONNECT:
		return p.Disconnect.Append(dst, v)
	case AUTH:
		return p.Auth.Append(dst, v)
	}
	panic("mqtt: append of a packet without a kind")
}
