package mqtt

// Version is the protocol level a client names in CONNECT.
type Version uint8

// The protocol levels Dunlin speaks.
const (
	V31  Version = 3 // MQTT 3.1 ("MQIsdp")
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// Kind is the control packet type, the high nibble of the first byte.
type Kind uint8

// The fifteen control packets.
const (
	CONNECT Kind = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

// QoS is a delivery guarantee: 0, 1 or 2.
type QoS uint8

// Packet is the decoded form of any control packet: Kind says which member is
// meaningful, the others hold leftovers. One Packet is reused for a whole
// stream; every byte slice in it borrows the bytes it was decoded from.
type Packet struct {
	Kind        Kind
	Connect     Connect
	Connack     Connack
	Publish     Publish
	Ack         Ack // PUBACK, PUBREC, PUBREL, PUBCOMP
	Subscribe   Subscribe
	Suback      Suback // also UNSUBACK
	Unsubscribe Unsubscribe
	Disconnect  Disconnect
	Auth        Auth
}
