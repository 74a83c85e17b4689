package mqtt

// Connack is the server's answer to CONNECT. Encoding for 3.1 and 3.1.1 turns
// Reason into a return code and leaves the properties out.
type Connack struct {
	SessionPresent bool
	Reason         Reason

	SessionExpiry      uint32 // sent if HasSessionExpiry
	HasSessionExpiry   bool
	ReceiveMaximum     uint16 // 0: absent (65,535)
	MaximumQoS         QoS    // sent if HasMaximumQoS
	HasMaximumQoS      bool
	RetainUnavailable  bool
	MaximumPacketSize  uint32 // 0: absent
	AssignedClientID   []byte // empty: absent
	TopicAliasMaximum  uint16
	ReasonString       []byte
	NoWildcard         bool
	NoSubscriptionIDs  bool
	NoShared           bool
	ServerKeepAlive    uint16 // sent if HasServerKeepAlive
	HasServerKeepAlive bool
	ResponseInfo       []byte
	ServerReference    []byte
	AuthMethod         []byte
	AuthData           []byte
	Properties         Properties // decode: the whole section; encode: user properties to add
}

func (c *Connack) decode(b []byte, v Version) error {
	*c = Connack{}
	r := reader{rest: b}
	flags := r.byte()
	code := r.byte()
	if v != V31 { // which reserves the byte and says nothing about its value
		if flags > 1 {
			return errConnackFlags // [MQTT-3.2.2-1]
		}
		c.SessionPresent = flags == 1
	}
	if v == V5 {
		c.Reason = Reason(code)
		if !c.Reason.in(CONNACK) {
			return errReason
		}
		c.Properties = r.properties()
	} else {
		if int(code) >= len(returnCodes) {
			return errReturnCode
		}
		c.Reason = returnCodes[code]
	}
	if err := r.end(); err != nil {
		return err
	}
	if c.SessionPresent && c.Reason != Success {
		return errSessionPresent // [MQTT-3.2.2-6]
	}
	return c.decodeProperties()
}

func (c *Connack) decodeProperties() error {
	s := c.Properties.scan(CONNACK)
	for s.next() {
		switch s.ID {
		case PropSessionExpiry:
			c.HasSessionExpiry, c.SessionExpiry = true, s.Number
		case PropReceiveMaximum:
			c.ReceiveMaximum = uint16(s.Number)
		case PropMaximumQoS:
			c.HasMaximumQoS, c.MaximumQoS = true, QoS(s.Number)
		case PropRetainAvailable:
			c.RetainUnavailable = s.Number == 0
		case PropMaximumPacketSize:
			c.MaximumPacketSize = s.Number
		case PropAssignedClientID:
			c.AssignedClientID = s.Value
		case PropTopicAliasMaximum:
			c.TopicAliasMaximum = uint16(s.Number)
		case PropReasonString:
			c.ReasonString = s.Value
		case PropWildcardAvailable:
			c.NoWildcard = s.Number == 0
		case PropSubscriptionIDsUsable:
			c.NoSubscriptionIDs = s.Number == 0
		case PropSharedAvailable:
			c.NoShared = s.Number == 0
		case PropServerKeepAlive:
			c.HasServerKeepAlive, c.ServerKeepAlive = true, uint16(s.Number)
		case PropResponseInfo:
			c.ResponseInfo = s.Value
		case PropServerReference:
			c.ServerReference = s.Value
		case PropAuthMethod:
			c.AuthMethod = s.Value
		case PropAuthData:
			c.AuthData = s.Value
		}
	}
	if s.err == nil && s.has(PropAuthData) && !s.has(PropAuthMethod) {
		return errNoAuthMethod
	}
	return s.err
}

// Append appends c as version v. Before 5.0 a reason without a return code
// appends nothing: the server closes without a word.
func (c *Connack) Append(dst []byte, v Version) []byte {
	code := byte(c.Reason)
	if v != V5 {
		var ok bool
		if code, ok = c.Reason.ReturnCode(); !ok {
			return dst
		}
	}
	var flags byte
	if c.SessionPresent && c.Reason == Success && v != V31 {
		flags = 1
	}
	dst, packet := appendOpen(append(dst, byte(CONNACK)<<4))
	dst = append(dst, flags, code)
	if v == V5 {
		var section int
		dst, section = appendOpen(dst)
		dst = appendClose(c.appendProperties(dst), section)
	}
	return appendClose(dst, packet)
}

func (c *Connack) appendProperties(dst []byte) []byte {
	if c.HasSessionExpiry {
		dst = appendUint32(dst, PropSessionExpiry, c.SessionExpiry)
	}
	if c.ReceiveMaximum != 0 {
		dst = appendUint16(dst, PropReceiveMaximum, c.ReceiveMaximum)
	}
	if c.HasMaximumQoS {
		dst = appendByte(dst, PropMaximumQoS, byte(c.MaximumQoS))
	}
	if c.RetainUnavailable {
		dst = appendByte(dst, PropRetainAvailable, 0)
	}
	if c.MaximumPacketSize != 0 {
		dst = appendUint32(dst, PropMaximumPacketSize, c.MaximumPacketSize)
	}
	if len(c.AssignedClientID) > 0 {
		dst = appendText(dst, PropAssignedClientID, c.AssignedClientID)
	}
	if c.TopicAliasMaximum != 0 {
		dst = appendUint16(dst, PropTopicAliasMaximum, c.TopicAliasMaximum)
	}
	if len(c.ReasonString) > 0 {
		dst = appendText(dst, PropReasonString, c.ReasonString)
	}
	if c.NoWildcard {
		dst = appendByte(dst, PropWildcardAvailable, 0)
	}
	if c.NoSubscriptionIDs {
		dst = appendByte(dst, PropSubscriptionIDsUsable, 0)
	}
	if c.NoShared {
		dst = appendByte(dst, PropSharedAvailable, 0)
	}
	if c.HasServerKeepAlive {
		dst = appendUint16(dst, PropServerKeepAlive, c.ServerKeepAlive)
	}
	if len(c.ResponseInfo) > 0 {
		dst = appendText(dst, PropResponseInfo, c.ResponseInfo)
	}
	if len(c.ServerReference) > 0 {
		dst = appendText(dst, PropServerReference, c.ServerReference)
	}
	if len(c.AuthMethod) > 0 {
		dst = appendText(dst, PropAuthMethod, c.AuthMethod)
		if len(c.AuthData) > 0 {
			dst = appendText(dst, PropAuthData, c.AuthData)
		}
	}
	return c.Properties.appendOnly(dst, users)
}
