package mqtt

// Connect is the first packet of a client.
type Connect struct {
	Version     Version
	CleanStart  bool   // "clean session" before 5.0
	KeepAlive   uint16 // seconds; 0 turns the mechanism off
	ClientID    []byte // may be empty, but not for 3.1
	HasUsername bool
	Username    []byte
	HasPassword bool
	Password    []byte
	HasWill     bool
	Will        Will

	// 5.0 properties, with the defaults of the standard where absent.
	SessionExpiry       uint32 // seconds; 0xFFFFFFFF never
	ReceiveMaximum      uint16 // default 65,535
	MaximumPacketSize   uint32 // 0: none given
	TopicAliasMaximum   uint16
	RequestResponseInfo bool
	RequestProblemInfo  bool // default true
	AuthMethod          []byte
	HasAuthMethod       bool
	AuthData            []byte
	Properties          Properties // the whole section, as sent; of it user properties are encoded
}

// The bits of CONNECT's flags.
const (
	connectReserved   = 0x01
	connectCleanStart = 0x02
	connectWill       = 0x04
	connectWillQoS    = 0x18
	connectWillRetain = 0x20
	connectPassword   = 0x40
	connectUsername   = 0x80
)

// decode sets Version before it refuses anything that comes after the protocol
// level, so that the refusal can be sent in the client's version; 0 means that
// there is none to answer in. A packet whose fields and length do not agree is no
// CONNECT that could be answered (case 4).
//
// 3.1 clients may send an identifier longer than the 23 bytes of their
// standard: many did, and no server of note ever minded. An empty one it
// refuses. In 3.1.1 an empty one needs CleanStart, on which the broker insists
// [MQTT-3.1.3-8].
func (c *Connect) decode(b []byte) error {
	*c = Connect{ReceiveMaximum: 65535, RequestProblemInfo: true}
	err := c.decodeFields(b)
	if err == errShort || err == errTrailing {
		c.Version = 0
	}
	return err
}

func (c *Connect) decodeFields(b []byte) error {
	r := reader{rest: b}
	if err := c.decodeVersion(&r); err != nil {
		return err
	}
	flags := r.byte()
	c.KeepAlive = r.uint16()
	if r.err != nil {
		return r.err
	}
	if err := c.checkFlags(flags); err != nil {
		return err
	}
	c.CleanStart = flags&connectCleanStart != 0
	if c.Version == V5 {
		c.Properties = r.properties()
		if err := c.decodeProperties(); err != nil {
			return err
		}
	}
	c.ClientID = r.string()
	if flags&connectWill != 0 {
		c.HasWill = true
		if err := c.Will.decode(&r, flags, c.Version); err != nil {
			return err
		}
	}
	// 3.1 lets user name and password be missing at the end in spite of their
	// flags, for the sake of clients older still.
	if flags&connectUsername != 0 && !(c.Version == V31 && len(r.rest) == 0) {
		c.HasUsername, c.Username = true, r.string()
	}
	if flags&connectPassword != 0 && !(c.Version == V31 && len(r.rest) == 0) {
		c.HasPassword, c.Password = true, r.binary()
	}
	if err := r.end(); err != nil {
		return err
	}
	if c.Version == V31 && len(c.ClientID) == 0 {
		return errNoClientID
	}
	return nil
}

// decodeVersion reads protocol name and level. An unknown level is answered
// (case 10) in the nearest version that has an answer.
func (c *Connect) decodeVersion(r *reader) error {
	name := r.binary()
	level := r.byte()
	if r.err != nil {
		return r.err
	}
	switch {
	case string(name) == "MQTT" && (level == byte(V311) || level == byte(V5)),
		string(name) == "MQIsdp" && level == byte(V31):
		c.Version = Version(level)
		return nil
	case string(name) == "MQTT" && level > byte(V5) && level < 0x80: // above it, bridges of old
		c.Version = V5
	default:
		c.Version = V311
	}
	return errProtocol
}

func (c *Connect) checkFlags(flags byte) error {
	const will = connectWillQoS | connectWillRetain
	switch {
	case flags&connectReserved != 0, // [MQTT-3.1.2-3]
		flags&connectWill == 0 && flags&will != 0, // [MQTT-3.1.2-11, -13]
		flags&connectWillQoS == connectWillQoS:    // [MQTT-3.1.2-12]
		return errConnectFlags
	case c.Version != V5 && flags&(connectUsername|connectPassword) == connectPassword:
		return errPasswordAlone // [MQTT-3.1.2-22] of 3.1.1
	}
	return nil
}

func (c *Connect) decodeProperties() error {
	s := c.Properties.scan(CONNECT)
	for s.next() {
		switch s.ID {
		case PropSessionExpiry:
			c.SessionExpiry = s.Number
		case PropReceiveMaximum:
			c.ReceiveMaximum = uint16(s.Number)
		case PropMaximumPacketSize:
			c.MaximumPacketSize = s.Number
		case PropTopicAliasMaximum:
			c.TopicAliasMaximum = uint16(s.Number)
		case PropRequestResponseInfo:
			c.RequestResponseInfo = s.Number == 1
		case PropRequestProblemInfo:
			c.RequestProblemInfo = s.Number == 1
		case PropAuthMethod:
			c.HasAuthMethod, c.AuthMethod = true, s.Value
		case PropAuthData:
			c.AuthData = s.Value
		}
	}
	if s.err == nil && s.has(PropAuthData) && !c.HasAuthMethod {
		return errNoAuthMethod
	}
	return s.err
}

// Append appends c as version v, whatever c.Version says. RequestProblemInfo
// and, for a persistent session, SessionExpiry have to be set by whoever
// builds a Connect; a ReceiveMaximum of 0 stands for the default.
func (c *Connect) Append(dst []byte, v Version) []byte {
	dst, packet := appendOpen(append(dst, byte(CONNECT)<<4))
	name := "MQTT"
	if v == V31 {
		name = "MQIsdp"
	}
	dst = appendString(dst, name)
	dst = append(dst, byte(v), c.flags(), byte(c.KeepAlive>>8), byte(c.KeepAlive))
	if v == V5 {
		var section int
		dst, section = appendOpen(dst)
		dst = appendClose(c.appendProperties(dst), section)
	}
	dst = appendString(dst, c.ClientID)
	if c.HasWill {
		dst = c.Will.append(dst, v)
	}
	if c.HasUsername {
		dst = appendString(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendString(dst, c.Password)
	}
	return appendClose(dst, packet)
}

func (c *Connect) flags() (flags byte) {
	if c.CleanStart {
		flags |= connectCleanStart
	}
	if c.HasWill {
		flags |= connectWill | byte(c.Will.QoS)<<3
		if c.Will.Retain {
			flags |= connectWillRetain
		}
	}
	if c.HasPassword {
		flags |= connectPassword
	}
	if c.HasUsername {
		flags |= connectUsername
	}
	return flags
}

func (c *Connect) appendProperties(dst []byte) []byte {
	if c.SessionExpiry != 0 {
		dst = appendUint32(dst, PropSessionExpiry, c.SessionExpiry)
	}
	if c.ReceiveMaximum != 0 && c.ReceiveMaximum != 65535 {
		dst = appendUint16(dst, PropReceiveMaximum, c.ReceiveMaximum)
	}
	if c.MaximumPacketSize != 0 {
		dst = appendUint32(dst, PropMaximumPacketSize, c.MaximumPacketSize)
	}
	if c.TopicAliasMaximum != 0 {
		dst = appendUint16(dst, PropTopicAliasMaximum, c.TopicAliasMaximum)
	}
	if c.RequestResponseInfo {
		dst = appendByte(dst, PropRequestResponseInfo, 1)
	}
	if !c.RequestProblemInfo {
		dst = appendByte(dst, PropRequestProblemInfo, 0)
	}
	if c.HasAuthMethod {
		dst = appendText(dst, PropAuthMethod, c.AuthMethod)
		if len(c.AuthData) > 0 {
			dst = appendText(dst, PropAuthData, c.AuthData)
		}
	}
	return c.Properties.appendOnly(dst, users)
}
