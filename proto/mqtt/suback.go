package mqtt

// Suback answers SUBSCRIBE (and, as UNSUBACK, UNSUBSCRIBE) with one reason per
// filter in order. Version 3 UNSUBACK carries none.
type Suback struct {
	Kind       Kind // SUBACK or UNSUBACK
	PacketID   uint16
	Reasons    []Reason
	Properties Properties // reason string and user properties
}

func (s *Suback) decode(f Frame, v Version) error {
	*s = Suback{Kind: f.Kind(), Reasons: s.Reasons[:0]}
	r := reader{rest: f.Body}
	s.PacketID = r.packetID()
	if v != V5 && s.Kind == UNSUBACK {
		return r.end()
	}
	if v == V5 {
		s.Properties = r.properties()
		if err := s.Properties.check(s.Kind); err != nil {
			return err
		}
	}
	if r.err != nil {
		return r.err
	}
	if len(r.rest) == 0 {
		return errNoReasons
	}
	for _, c := range r.rest {
		reason := Reason(c)
		if !reason.in(s.Kind) || v != V5 && reason > GrantedQoS2 && reason != Unspecified {
			return errReason
		}
		s.Reasons = append(s.Reasons, reason)
	}
	return nil
}

// Append appends s as version v. Before 5.0 a refused filter has but one code,
// 0x80; 3.1 does not have it, yet has no other way to say so.
func (s *Suback) Append(dst []byte, v Version) []byte {
	dst, packet := appendOpen(append(dst, byte(s.Kind)<<4))
	dst = append(dst, byte(s.PacketID>>8), byte(s.PacketID))
	switch {
	case v == V5:
		var section int
		dst, section = appendOpen(dst)
		dst = appendClose(append(dst, s.Properties...), section)
		for _, reason := range s.Reasons {
			dst = append(dst, byte(reason))
		}
	case s.Kind == SUBACK:
		for _, reason := range s.Reasons {
			dst = append(dst, byte(min(reason, Unspecified)))
		}
	}
	return appendClose(dst, packet)
}

// SubackSize is the number of bytes that Append adds as version 5.0 for n reasons and
// no properties.
func SubackSize(n int) int {
	remaining := 2 + 1 + n
	return 1 + variableSize(remaining) + remaining
}
