package mqtt

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Kind       Kind
	PacketID   uint16
	Reason     Reason     // Success where the packet is two bytes long
	Properties Properties // reason string and user properties
}
