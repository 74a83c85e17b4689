package mqtt

// Will is the message published when a connection ends other than by DISCONNECT 0x00.
type Will struct {
	QoS           QoS
	Retain        bool
	Topic         []byte
	Payload       []byte
	Delay         uint32 // seconds
	MessageExpiry uint32 // seconds, if HasExpiry
	HasExpiry     bool
	Properties    Properties // the raw section; application properties, as in Publish
}

// decode reads the will's part of a CONNECT, whose flags have been checked.
func (w *Will) decode(r *reader, flags byte, v Version) error {
	w.QoS = QoS(flags & connectWillQoS >> 3)
	w.Retain = flags&connectWillRetain != 0
	if v == V5 {
		w.Properties = r.properties()
		s := w.Properties.scan(kindWill)
		for s.next() {
			switch s.ID {
			case PropWillDelay:
				w.Delay = s.Number
			case PropMessageExpiry:
				w.HasExpiry, w.MessageExpiry = true, s.Number
			}
		}
		if s.err != nil {
			return s.err
		}
	}
	w.Topic = r.binary()
	w.Payload = r.binary()
	switch {
	case r.err != nil:
		return r.err
	case len(w.Topic) == 0:
		return errNoWillTopic
	}
	return checkTopic(w.Topic)
}

func (w *Will) append(dst []byte, v Version) []byte {
	if v == V5 {
		var section int
		dst, section = appendOpen(dst)
		if w.Delay != 0 {
			dst = appendUint32(dst, PropWillDelay, w.Delay)
		}
		if w.HasExpiry {
			dst = appendUint32(dst, PropMessageExpiry, w.MessageExpiry)
		}
		dst = appendClose(w.Properties.AppendApplication(dst), section)
	}
	return appendString(appendString(dst, w.Topic), w.Payload)
}
