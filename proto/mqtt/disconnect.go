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
	properties := d.HasSessionExpiry || len(d.ReasonString) > 0 || len(d.ServerReference) > 0 || d.Properties.sizeOnly(users) > 0
	switch {
	case v != V5 || d.Reason == Success && !properties:
		return append(dst, first, 0)
	case !properties:
		return append(dst, first, 1, byte(d.Reason))
	}
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
	dst = d.Properties.appendOnly(dst, users)
	return appendClose(appendClose(dst, section), packet)
}
