package mqtt

// Subscribe asks for one or more filters.
type Subscribe struct {
	PacketID       uint16
	SubscriptionID uint32 // 0: none
	Filters        []Subscription
	Properties     Properties // the whole section; of it user properties are encoded
}

// Subscription is one line of a SUBSCRIBE. Filter is well-formed UTF-8 but not
// yet a valid filter: a bad one is answered in SUBACK, alone.
type Subscription struct {
	Filter            []byte
	QoS               QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8 // 0 send, 1 send if new, 2 do not send
}

func (s *Subscribe) decode(b []byte, v Version) error {
	*s = Subscribe{Filters: s.Filters[:0]}
	r := reader{rest: b}
	s.PacketID = r.packetID()
	if v == V5 {
		s.Properties = r.properties()
		scan := s.Properties.scan(SUBSCRIBE)
		for scan.next() {
			if scan.ID == PropSubscriptionID {
				s.SubscriptionID = scan.Number
			}
		}
		if scan.err != nil {
			return scan.err
		}
	}
	for len(r.rest) > 0 {
		line := Subscription{Filter: r.string()}
		if err := line.setOptions(r.byte(), v); err != nil {
			r.fail(err)
		}
		s.Filters = append(s.Filters, line)
	}
	if r.err == nil && len(s.Filters) == 0 {
		return errNoFilters // [MQTT-3.8.3-2]
	}
	return r.err
}

// setOptions takes a line apart from its filter.
func (s *Subscription) setOptions(options byte, v Version) error {
	reserved := byte(0xC0)
	if v != V5 {
		reserved = 0xFC
	}
	switch {
	case options&reserved != 0:
		return errOptionBits // [MQTT-3.8.3-5]
	case options&3 == 3:
		return errOptionQoS
	case options>>4 == 3:
		return errRetainHandling
	}
	s.QoS = QoS(options & 3)
	s.NoLocal = options&4 != 0
	s.RetainAsPublished = options&8 != 0
	s.RetainHandling = options >> 4
	return nil
}

// options is what setOptions reads.
func (s *Subscription) options(v Version) byte {
	options := byte(s.QoS)
	if v != V5 {
		return options
	}
	if s.NoLocal {
		options |= 4
	}
	if s.RetainAsPublished {
		options |= 8
	}
	return options | s.RetainHandling<<4
}

// Append appends s as version v.
func (s *Subscribe) Append(dst []byte, v Version) []byte {
	dst, packet := appendOpen(append(dst, byte(SUBSCRIBE)<<4|flagsOne))
	dst = append(dst, byte(s.PacketID>>8), byte(s.PacketID))
	if v == V5 {
		var section int
		dst, section = appendOpen(dst)
		if s.SubscriptionID != 0 {
			dst = appendVariable(append(dst, byte(PropSubscriptionID)), int(s.SubscriptionID))
		}
		dst = appendClose(s.Properties.appendOnly(dst, users), section)
	}
	for i := range s.Filters {
		line := &s.Filters[i]
		dst = append(appendString(dst, line.Filter), line.options(v))
	}
	return appendClose(dst, packet)
}
