package mqtt

import (
	"encoding/binary"
	"unicode/utf8"
)

// Publish carries an application message, either way.
type Publish struct {
	Dup, Retain bool
	QoS         QoS
	PacketID    uint16 // 0 for QoS 0
	Topic       []byte // empty only beside a TopicAlias
	Payload     []byte

	TopicAlias    uint16 // 0: none
	HasExpiry     bool
	MessageExpiry uint32 // seconds
	// SubscriptionIDs is filled for packets from a server and encoded in order.
	SubscriptionIDs []uint32
	// Properties is the raw section. Of it, only what the standard has a server
	// forward unaltered (payload format, content type, response topic,
	// correlation data, user properties) is encoded again: alias, expiry and
	// subscription identifiers come from the fields above.
	Properties Properties
}

func (p *Publish) decode(f Frame, v Version) error {
	if err := checkFlags(f.First, v); err != nil {
		return err
	}
	p.Dup = f.First&flagDup != 0
	p.Retain = f.First&flagRetain != 0
	p.QoS = QoS(f.First >> 1 & 3)
	p.PacketID = 0
	p.TopicAlias = 0
	p.HasExpiry, p.MessageExpiry = false, 0
	p.SubscriptionIDs = p.SubscriptionIDs[:0]
	p.Properties = nil

	b := f.Body
	end := stringEnd(b, 0)
	if end > len(b) {
		return errShort
	}
	topic := b[2:end:end]
	b = b[end:]
	if err := checkTopic(topic); err != nil {
		return err
	}
	p.Topic = topic
	if p.QoS > 0 {
		if len(b) < 2 {
			return errShort
		}
		if p.PacketID = binary.BigEndian.Uint16(b); p.PacketID == 0 {
			return errPacketID
		}
		b = b[2:]
	}
	if v == V5 {
		r := reader{rest: b}
		p.Properties = r.properties()
		if r.err != nil {
			return r.err
		}
		if len(p.Properties) > 0 {
			if err := p.decodeProperties(); err != nil {
				return err
			}
		}
		b = r.rest
	}
	if len(topic) == 0 && p.TopicAlias == 0 {
		return errNoTopic
	}
	p.Payload = b
	return nil
}

func (p *Publish) decodeProperties() error {
	s := p.Properties.scan(PUBLISH)
	for s.next() {
		switch s.ID {
		case PropTopicAlias:
			if s.Number == 0 {
				return errTopicAlias // [MQTT-3.3.2-8]
			}
			p.TopicAlias = uint16(s.Number)
		case PropMessageExpiry:
			p.HasExpiry, p.MessageExpiry = true, s.Number
		case PropSubscriptionID:
			p.SubscriptionIDs = append(p.SubscriptionIDs, s.Number)
		}
	}
	return s.err
}

// Append appends p as version v.
func (p *Publish) Append(dst []byte, v Version) []byte {
	dst, _ = p.AppendAt(dst, v)
	return dst
}

// AppendAt is Append for a packet that goes out more than once: id is where in
// out the two bytes of the packet identifier begin, big-endian, 0 for QoS 0.
// Encode once, copy, and write each copy's identifier there.
func (p *Publish) AppendAt(dst []byte, v Version) (out []byte, id int) {
	first := byte(PUBLISH)<<4 | byte(p.QoS)<<1
	if p.Dup {
		first |= flagDup
	}
	if p.Retain {
		first |= flagRetain
	}
	remaining, properties := p.sizes(v)
	dst = appendVariable(append(dst, first), remaining)
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		id = len(dst)
		dst = append(dst, byte(p.PacketID>>8), byte(p.PacketID))
	}
	if v == V5 {
		dst = appendVariable(dst, properties)
		if properties > 0 {
			dst = p.appendProperties(dst)
		}
	}
	return append(dst, p.Payload...), id
}

func (p *Publish) appendProperties(dst []byte) []byte {
	if p.TopicAlias != 0 {
		dst = appendUint16(dst, PropTopicAlias, p.TopicAlias)
	}
	if p.HasExpiry {
		dst = appendUint32(dst, PropMessageExpiry, p.MessageExpiry)
	}
	for _, id := range p.SubscriptionIDs {
		dst = appendVariable(append(dst, byte(PropSubscriptionID)), int(id))
	}
	return p.Properties.AppendApplication(dst)
}

// Size is the length in bytes of what Append appends, for comparison with a
// Maximum Packet Size [MQTT-3.1.2-24] and with [MaxPacketSize].
func (p *Publish) Size(v Version) int {
	remaining, _ := p.sizes(v)
	return 1 + variableSize(remaining) + remaining
}

// sizes are the remaining length, and that of the property section.
func (p *Publish) sizes(v Version) (remaining, properties int) {
	remaining = 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		remaining += 2
	}
	if v != V5 {
		return remaining, 0
	}
	properties = p.Properties.sizeOnly(application)
	if p.TopicAlias != 0 {
		properties += 3
	}
	if p.HasExpiry {
		properties += 5
	}
	for _, id := range p.SubscriptionIDs {
		properties += 1 + variableSize(int(id))
	}
	return remaining + variableSize(properties) + properties, properties
}

// CheckPayload refuses (0x99) a payload that is not the UTF-8 which its format
// indicator promises [MQTT-3.3.2-4]. Decode does not ask: it costs a pass over
// the payload, and a server may do without.
func (p *Publish) CheckPayload() error {
	if text, _ := p.Properties.PayloadFormat(); text && !utf8.Valid(p.Payload) {
		return errPayload
	}
	return nil
}
