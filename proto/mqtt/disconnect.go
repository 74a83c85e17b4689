package mqtt

// Disconnect ends a connection, either way; 3.1 and 3.1.1 know only the
// client's, without a reason.
type Disconnect struct {
	Reason           Reason
	HasSessionExpiry bool
	SessionExpiry    uint32 // seconds; only a client sends it
	ReasonString     []byte
	ServerReference  []byte     // only a server sends it
	Properties       Properties // the whole section; of it user properties are encoded
}

func (d *Disconnect) decode(b []byte, v Version) error {
	*d = Disconnect{}
	if len(b) == 0 {
		return nil
	}
	if v != V5 {
		return errTrailing
	}
	d.Reason = Reason(b[0])
	if !d.Reason.in(DISCONNECT) {
		return errReason
	}
	if len(b) == 1 {
		return nil
	}
	r := reader{rest: b[1:]}
	d.Properties = r.properties()
	if err := r.end(); err != nil {
		return err
	}
	s := d.Properties.scan(DISCONNECT)
	for s.next() {
		switch s.ID {
		case PropSessionExpiry:
			d.HasSessionExpiry, d.SessionExpiry = true, s.Number
		case PropReasonString:
			d.ReasonString = s.Value
		case PropServerReference:
			d.ServerReference = s.Value
		}
	}
	return s.err
}

// Append appends d as version v.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	const first = byte(DISCONNECT) << 4
	if v != V5 {
		return append(dst, first, 0)
	}
	start := len(dst)
	dst, packet := appendOpen(append(dst, first))
	dst, section := appendOpen(append(dst, byte(d.Reason)))
	if d.HasSessionExpiry {
		dst = appendUint32(dst, PropSessionExpiry, d.SessionExpiry)
	}
	if len(d.ReasonString) > 0 {
		dst = appendText(dst, PropReasonString, d.ReasonString)
	}
	if len(d.ServerReference) > 0 {
		dst = appendText(dst, PropServerReference, d.ServerReference)
	}
	dst = d.Properties.appendUsers(dst)
	switch {
	case len(dst) > section+1:
		return appendClose(appendClose(dst, section), packet)
	case d.Reason != Success:
		return appendClose(dst[:section], packet)
	}
	return append(dst[:start], first, 0)
}
