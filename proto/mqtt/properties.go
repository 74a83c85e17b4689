package mqtt

import (
	"encoding/binary"
	"strconv"
)

// Properties is a validated property section without its length, as it stood
// in the packet. It borrows the packet's bytes. Typed getters and an iterator
// read it; Append functions build one. Reading bytes that nobody validated is
// safe and ends at the first that makes no sense.
type Properties []byte

// What one property section may hold of user properties; more is refused with
// 0x97 (case 20). Nothing else in a section can be sent in numbers, apart from
// subscription identifiers, which take no more memory than they have bytes.
const (
	MaxUserProperties    = 256
	MaxUserPropertyBytes = 128 << 10 // names, values and their lengths
)

// PropertyID is a property's identifier.
type PropertyID uint8

// Every property of MQTT 5.0.
const (
	PropPayloadFormat         PropertyID = 0x01
	PropMessageExpiry         PropertyID = 0x02
	PropContentType           PropertyID = 0x03
	PropResponseTopic         PropertyID = 0x08
	PropCorrelationData       PropertyID = 0x09
	PropSubscriptionID        PropertyID = 0x0B
	PropSessionExpiry         PropertyID = 0x11
	PropAssignedClientID      PropertyID = 0x12
	PropServerKeepAlive       PropertyID = 0x13
	PropAuthMethod            PropertyID = 0x15
	PropAuthData              PropertyID = 0x16
	PropRequestProblemInfo    PropertyID = 0x17
	PropWillDelay             PropertyID = 0x18
	PropRequestResponseInfo   PropertyID = 0x19
	PropResponseInfo          PropertyID = 0x1A
	PropServerReference       PropertyID = 0x1C
	PropReasonString          PropertyID = 0x1F
	PropReceiveMaximum        PropertyID = 0x21
	PropTopicAliasMaximum     PropertyID = 0x22
	PropTopicAlias            PropertyID = 0x23
	PropMaximumQoS            PropertyID = 0x24
	PropRetainAvailable       PropertyID = 0x25
	PropUser                  PropertyID = 0x26
	PropMaximumPacketSize     PropertyID = 0x27
	PropWildcardAvailable     PropertyID = 0x28
	PropSubscriptionIDsUsable PropertyID = 0x29
	PropSharedAvailable       PropertyID = 0x2A
)

// String is the name in the standard: "content type".
func (id PropertyID) String() string {
	if int(id) < len(propertyRules) && propertyRules[id].name != "" {
		return propertyRules[id].name
	}
	return "property 0x" + strconv.FormatUint(uint64(id), 16)
}

// Property is one property of a section; its slices borrow the section's bytes.
type Property struct {
	ID     PropertyID
	Number uint32 // of a byte, an integer of any width
	Name   []byte // of a user property
	Value  []byte // of a string, binary data, a user property
}

// propertyType is a property's form on the wire.
type propertyType uint8

const (
	typeNone propertyType = iota
	typeByte
	typeUint16
	typeUint32
	typeVariable
	typeString
	typeBinary
	typePair
)

// propertyRule says what a property looks like and where it may stand.
type propertyRule struct {
	name string
	typ  propertyType
	in   uint16 // bits 1<<Kind, and inWill
	min  uint32 // smallest number allowed; bytes are 0 or 1
}

// inWill stands for the will's section of CONNECT, in the place of the packet
// type 0, which does not exist.
const (
	kindWill Kind = 0

	inWill        = 1 << kindWill
	inConnect     = 1 << CONNECT
	inConnack     = 1 << CONNACK
	inPublish     = 1 << PUBLISH
	inAcks        = 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP
	inSubscribe   = 1 << SUBSCRIBE
	inSubacks     = 1<<SUBACK | 1<<UNSUBACK
	inUnsubscribe = 1 << UNSUBSCRIBE
	inDisconnect  = 1 << DISCONNECT
	inAuth        = 1 << AUTH

	inAny     = inWill | inConnect | inConnack | inPublish | inAcks | inSubscribe | inSubacks | inUnsubscribe | inDisconnect | inAuth
	inMessage = inPublish | inWill
)

// propertyRules is table 2-4 of the standard.
var propertyRules = [...]propertyRule{
	PropPayloadFormat:         {"payload format indicator", typeByte, inMessage, 0},
	PropMessageExpiry:         {"message expiry interval", typeUint32, inMessage, 0},
	PropContentType:           {"content type", typeString, inMessage, 0},
	PropResponseTopic:         {"response topic", typeString, inMessage, 0},
	PropCorrelationData:       {"correlation data", typeBinary, inMessage, 0},
	PropSubscriptionID:        {"subscription identifier", typeVariable, inPublish | inSubscribe, 1},
	PropSessionExpiry:         {"session expiry interval", typeUint32, inConnect | inConnack | inDisconnect, 0},
	PropAssignedClientID:      {"assigned client identifier", typeString, inConnack, 0},
	PropServerKeepAlive:       {"server keep alive", typeUint16, inConnack, 0},
	PropAuthMethod:            {"authentication method", typeString, inConnect | inConnack | inAuth, 0},
	PropAuthData:              {"authentication data", typeBinary, inConnect | inConnack | inAuth, 0},
	PropRequestProblemInfo:    {"request problem information", typeByte, inConnect, 0},
	PropWillDelay:             {"will delay interval", typeUint32, inWill, 0},
	PropRequestResponseInfo:   {"request response information", typeByte, inConnect, 0},
	PropResponseInfo:          {"response information", typeString, inConnack, 0},
	PropServerReference:       {"server reference", typeString, inConnack | inDisconnect, 0},
	PropReasonString:          {"reason string", typeString, inConnack | inAcks | inSubacks | inDisconnect | inAuth, 0},
	PropReceiveMaximum:        {"receive maximum", typeUint16, inConnect | inConnack, 1},
	PropTopicAliasMaximum:     {"topic alias maximum", typeUint16, inConnect | inConnack, 0},
	PropTopicAlias:            {"topic alias", typeUint16, inPublish, 0}, // 0 has a reason code of its own
	PropMaximumQoS:            {"maximum QoS", typeByte, inConnack, 0},
	PropRetainAvailable:       {"retain available", typeByte, inConnack, 0},
	PropUser:                  {"user property", typePair, inAny, 0},
	PropMaximumPacketSize:     {"maximum packet size", typeUint32, inConnect | inConnack, 1},
	PropWildcardAvailable:     {"wildcard subscription available", typeByte, inConnack, 0},
	PropSubscriptionIDsUsable: {"subscription identifier available", typeByte, inConnack, 0},
	PropSharedAvailable:       {"shared subscription available", typeByte, inConnack, 0},
}

// head is the length in bytes of the property at the head of ps, which is not
// empty. It judges the form alone: identifier known, lengths within ps.
func (ps Properties) head() (size int, err error) {
	id := ps[0] // a variable byte integer, of which no identifier needs two bytes
	if int(id) >= len(propertyRules) {
		return 0, errProperty
	}
	switch propertyRules[id].typ {
	case typeByte:
		size = 1 + 1
	case typeUint16:
		size = 1 + 2
	case typeUint32:
		size = 1 + 4
	case typeVariable:
		_, width, err := variable(ps[1:])
		switch {
		case err != nil:
			return 0, err
		case width == 0:
			return 0, errShort
		}
		size = 1 + width
	case typeString, typeBinary:
		size = stringEnd(ps, 1)
	case typePair:
		size = stringEnd(ps, stringEnd(ps, 1))
	default:
		return 0, errProperty
	}
	if size > len(ps) {
		return 0, errShort
	}
	return size, nil
}

// stringEnd is where the string or binary field at b[i:] ends, which is beyond b
// where the field is not whole.
func stringEnd(b []byte, i int) int {
	if i+2 > len(b) {
		return i + 2
	}
	return i + 2 + int(binary.BigEndian.Uint16(b[i:]))
}

// next reads the property at the head of ps, which is not empty, and returns
// what follows it.
func (p *Property) next(ps Properties) (rest Properties, err error) {
	size, err := ps.head()
	if err != nil {
		return nil, err
	}
	b := ps[1:size:size]
	*p = Property{ID: PropertyID(ps[0])}
	switch propertyRules[ps[0]].typ {
	case typeByte:
		p.Number = uint32(b[0])
	case typeUint16:
		p.Number = uint32(binary.BigEndian.Uint16(b))
	case typeUint32:
		p.Number = binary.BigEndian.Uint32(b)
	case typeVariable:
		p.Number, _, _ = variable(b)
	case typeString, typeBinary:
		p.Value = b[2:]
	case typePair:
		end := stringEnd(b, 0)
		p.Name, p.Value = b[2:end:end], b[end+2:]
	}
	return ps[size:], nil
}

// scanner validates a section while its packet's decoder takes what it wants:
// everything that the tables can say is judged here.
type scanner struct {
	Property
	rest  Properties
	kind  Kind
	seen  uint64 // bits 1<<PropertyID
	users int
	bytes int // of user properties
	err   error
}

// next moves to the next property; false at the end and at the first error.
func (s *scanner) next() bool {
	if len(s.rest) == 0 || s.err != nil {
		return false
	}
	before := len(s.rest)
	if s.rest, s.err = s.Property.next(s.rest); s.err == nil {
		s.err = s.judge(before - len(s.rest))
	}
	return s.err == nil
}

// judge decides on the current property, which took size bytes.
func (s *scanner) judge(size int) error {
	rule := &propertyRules[s.ID]
	if rule.in&(1<<s.kind) == 0 {
		return errProperty
	}
	if s.ID == PropUser {
		if s.users++; s.users > MaxUserProperties {
			return errUserProperties
		}
		if s.bytes += size; s.bytes > MaxUserPropertyBytes {
			return errUserPropertyBytes
		}
	} else if bit := uint64(1) << s.ID; s.seen&bit == 0 {
		s.seen |= bit
	} else if s.ID != PropSubscriptionID || s.kind != PUBLISH {
		return errPropertyTwice
	}
	switch rule.typ {
	case typeByte:
		if s.Number > 1 {
			return errPropertyValue
		}
	case typeString:
		if s.ID == PropResponseTopic {
			return checkResponseTopic(s.Value)
		}
		if !validText(s.Value) {
			return errText
		}
	case typePair:
		if !validText(s.Name) || !validText(s.Value) {
			return errText
		}
	default:
		if s.Number < rule.min {
			return errPropertyValue
		}
	}
	return nil
}

func (s *scanner) has(id PropertyID) bool { return s.seen&(1<<id) != 0 }

// scan begins the validation of ps as a section of kind.
func (ps Properties) scan(kind Kind) scanner { return scanner{rest: ps, kind: kind} }

// check validates a section of which the decoder wants nothing.
func (ps Properties) check(kind Kind) error {
	if len(ps) == 0 {
		return nil
	}
	s := ps.scan(kind)
	for s.next() {
	}
	return s.err
}
