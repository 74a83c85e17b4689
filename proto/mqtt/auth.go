package mqtt

// Auth is a step of enhanced authentication (5.0 only).
type Auth struct {
	Reason       Reason // Success, ContinueAuthentication, ReAuthenticate
	Method       []byte
	Data         []byte
	ReasonString []byte
	Properties   Properties // the whole section; of it user properties are encoded
}

// decode refuses an AUTH without a method (case 7), the empty one too that
// 3.15.2.1 lets stand for Success: 3.15.2.2.2 wants a method in every AUTH.
func (a *Auth) decode(b []byte, v Version) error {
	if v != V5 {
		return errReserved
	}
	*a = Auth{}
	if len(b) == 0 {
		return errNoAuthMethod
	}
	r := reader{rest: b}
	a.Reason = Reason(r.byte())
	if !a.Reason.in(AUTH) {
		return errReason
	}
	a.Properties = r.properties()
	if err := r.end(); err != nil {
		return err
	}
	s := a.Properties.scan(AUTH)
	for s.next() {
		switch s.ID {
		case PropAuthMethod:
			a.Method = s.Value
		case PropAuthData:
			a.Data = s.Value
		case PropReasonString:
			a.ReasonString = s.Value
		}
	}
	if s.err == nil && !s.has(PropAuthMethod) {
		return errNoAuthMethod
	}
	return s.err
}

// Append appends a, which has no form before 5.0.
func (a *Auth) Append(dst []byte, v Version) []byte {
	if v != V5 {
		panic("mqtt: AUTH before 5.0")
	}
	dst, packet := appendOpen(append(dst, byte(AUTH)<<4))
	dst, section := appendOpen(append(dst, byte(a.Reason)))
	dst = appendText(dst, PropAuthMethod, a.Method)
	if len(a.Data) > 0 {
		dst = appendText(dst, PropAuthData, a.Data)
	}
	if len(a.ReasonString) > 0 {
		dst = appendText(dst, PropReasonString, a.ReasonString)
	}
	dst = a.Properties.appendOnly(dst, users)
	return appendClose(appendClose(dst, section), packet)
}
