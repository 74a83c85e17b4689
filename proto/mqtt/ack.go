package mqtt

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Kind       Kind
	PacketID   uint16
	Reason     Reason     // Success where the packet is two bytes long
	Properties Properties // reason string and user properties
}

func (a *Ack) decode(f Frame, v Version) error {
	b := f.Body
	if len(b) < 2 {
		return errShort
	}
	*a = Ack{Kind: f.Kind(), PacketID: binary.BigEndian.Uint16(b)}
	if a.PacketID == 0 {
		return errPacketID
	}
	if len(b) == 2 {
		return nil
	}
	if v != V5 {
		return errTrailing
	}
	a.Reason = Reason(b[2])
	if !a.Reason.in(a.Kind) {
		return errReason
	}
	if len(b) == 3 {
		return nil
	}
	r := reader{rest: b[3:]}
	a.Properties = r.properties()
	if err := r.end(); err != nil {
		return err
	}
	return a.Properties.check(a.Kind)
}

// Append appends a as version v: before 5.0 without reason and properties, in 5.0
// as short as they allow.
func (a *Ack) Append(dst []byte, v Version) []byte {
	first := byte(a.Kind) << 4
	if a.Kind == PUBREL {
		first |= flagsOne
	}
	high, low := byte(a.PacketID>>8), byte(a.PacketID)
	switch {
	case v != V5 || a.Reason == Success && len(a.Properties) == 0:
		return append(dst, first, 2, high, low)
	case len(a.Properties) == 0:
		return append(dst, first, 3, high, low, byte(a.Reason))
	}
	dst, packet := appendOpen(append(dst, first))
	dst = append(dst, high, low, byte(a.Reason))
	dst, section := appendOpen(dst)
	dst = appendClose(append(dst, a.Properties...), section)
	return appendClose(dst, packet)
}
