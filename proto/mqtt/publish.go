package mqtt

// Publish carries an application message, either way.
type Publish struct {
	Dup, Retain bool
	QoS         QoS
	PacketID    uint16 // 0 for QoS 0
	Topic       []byte // empty only beside a TopicAlias
	Payload     []byte

	TopicAlias    uint16 // 0: none
	HasExpiry     bool
	MessageExpiry uint32 // seconds
	// SubscriptionIDs is filled for packets from a server and encoded in order.
	SubscriptionIDs []uint32
	// Properties is the raw section. Of it, only what the standard has a server
	// forward unaltered (payload format, content type, response topic,
	// correlation data, user properties) is encoded again: alias, expiry and
	// subscription identifiers come from the fields above.
	Properties Properties
}
