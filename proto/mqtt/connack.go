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
