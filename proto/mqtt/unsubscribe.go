package mqtt

// Unsubscribe withdraws filters, well-formed UTF-8 each but perhaps no valid
// filter.
type Unsubscribe struct {
	PacketID   uint16
	Filters    [][]byte
	Properties Properties // user properties
}

func (u *Unsubscribe) decode(b []byte, v Version) error {
	*u = Unsubscribe{Filters: u.Filters[:0]}
	r := reader{rest: b}
	u.PacketID = r.packetID()
	if v == V5 {
		u.Properties = r.properties()
		if err := u.Properties.check(UNSUBSCRIBE); err != nil {
			return err
		}
	}
	for len(r.rest) > 0 {
		u.Filters = append(u.Filters, r.string())
	}
	if r.err == nil && len(u.Filters) == 0 {
		return errNoFilters // [MQTT-3.10.3-2]
	}
	return r.err
}

// Append appends u as version v.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte {
	dst, packet := appendOpen(append(dst, byte(UNSUBSCRIBE)<<4|flagsOne))
	dst = append(dst, byte(u.PacketID>>8), byte(u.PacketID))
	if v == V5 {
		var section int
		dst, section = appendOpen(dst)
		dst = appendClose(append(dst, u.Properties...), section)
	}
	for _, filter := range u.Filters {
		dst = appendString(dst, filter)
	}
	return appendClose(dst, packet)
}
