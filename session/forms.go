package session

import (
	"unsafe"

	"dunlin/proto/mqtt"
)

// maxFormsBytes is the scratch that Forms keeps from message to message.
const maxFormsBytes = 256 << 10

// Forms holds the PUBLISH packets of one message as its subscribers get them:
// one encoding per protocol, QoS and retain flag, made when the second
// subscriber asks for it. What differs from one subscriber to the next, packet
// identifier and DUP, is patched into the copy; a packet with subscription
// identifiers or a topic alias is encoded by itself.
//
// Each goroutine that delivers keeps one Forms and lends it to one message
// after the other with Message.Share; its scratch grows to what is needed and
// then nothing is allocated.
type Forms struct {
	fan   uint32 // the fan-out in hand; a message of an earlier one shares nothing any more
	left  uint32 // the expiry that is encoded
	asked uint16 // bit per form: a subscriber had it
	buf   []byte
	spans [2 * 3 * 2]form
}

// form is where in Forms.buf one encoding stands, and where in it the packet
// identifier.
type form struct{ from, to, id int }

// Share lends f to m, for a fan-out to several subscribers of one goroutine; the
// message that had it before is encoded for each subscriber anew. m's fields
// and bytes stay as they are from here on until f goes to the next message.
func (m *Message) Share(f *Forms) {
	f.fan++
	f.begin(0)
	m.forms, m.fan = f, f.fan
}

func (f *Forms) begin(left uint32) {
	f.left, f.asked = left, 0
	f.spans = [len(f.spans)]form{}
	if f.buf = f.buf[:0]; cap(f.buf) > maxFormsBytes {
		f.buf = nil
	}
}

// publish is m as a PUBLISH packet for one subscriber.
//
// It fills p, which is empty, field by field: to return a struct and have it copied
// at once stalls the processor, and that cost as much as encoding the packet.
func (m *Message) publish(p *mqtt.Publish, qos mqtt.QoS, retain bool, now Time) {
	topic := m.Topic.String()
	p.Retain = retain
	p.QoS = qos
	p.Topic = unsafe.Slice(unsafe.StringData(topic), len(topic))
	p.Payload = m.Payload
	p.Properties = m.Properties
	if m.HasExpiry {
		p.HasExpiry, p.MessageExpiry = true, m.Left(now)
	}
}

// appendForm appends the PUBLISH that has neither subscription identifiers nor
// an alias.
func (m *Message) appendForm(v mqtt.Version, qos mqtt.QoS, retain, dup bool, id uint16, now Time, out []byte) []byte {
	f := m.forms
	if f == nil || f.fan != m.fan {
		var p mqtt.Publish
		m.publish(&p, qos, retain, now)
		p.Dup, p.PacketID = dup, id
		return p.Append(out, v)
	}
	if m.HasExpiry {
		if left := m.Left(now); left != f.left {
			f.begin(left)
		}
	}
	i := 2 * int(qos)
	if retain {
		i++
	}
	if v == mqtt.V5 {
		i += 6
	}
	s := &f.spans[i]
	if s.to == 0 {
		var p mqtt.Publish
		m.publish(&p, qos, retain, now)
		if f.asked&(1<<i) == 0 {
			// The only one, perhaps.
			f.asked |= 1 << i
			p.Dup, p.PacketID = dup, id
			return p.Append(out, v)
		}
		p.PacketID = 1 // patched below
		s.from = len(f.buf)
		f.buf, s.id = p.AppendAt(f.buf, v)
		s.to = len(f.buf)
		s.id -= s.from
	}
	at := len(out)
	out = append(out, f.buf[s.from:s.to]...)
	if qos > 0 {
		out[at+s.id], out[at+s.id+1] = byte(id>>8), byte(id)
		if dup {
			out[at] |= 0x08
		}
	}
	return out
}
