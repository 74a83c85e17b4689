package mqtt

// Unsubscribe withdraws filters.
type Unsubscribe struct {
	PacketID   uint16
	Filters    [][]byte
	Properties Properties
}
