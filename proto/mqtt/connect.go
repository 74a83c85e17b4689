package mqtt

// Connect is the first packet of a client.
type Connect struct {
	Version     Version
	CleanStart  bool   // "clean session" before 5.0
	KeepAlive   uint16 // seconds; 0 turns the mechanism off
	ClientID    []byte
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
	Properties          Properties // the whole section, as sent
}

// Will is the message published when a connection ends other than by DISCONNECT 0x00.
type Will struct {
	QoS           QoS
	Retain        bool
	Topic         []byte
	Payload       []byte
	Delay         uint32 // seconds
	MessageExpiry uint32 // seconds, if HasExpiry
	HasExpiry     bool
	Properties    Properties // application properties, as in Publish
}
