package mqtt

// Subscribe asks for one or more filters.
type Subscribe struct {
	PacketID       uint16
	SubscriptionID uint32 // 0: none
	Filters        []Subscription
	Properties     Properties
}

// Subscription is one line of a SUBSCRIBE. Filter is well-formed UTF-8 but not
// yet a valid filter: a bad one is answered in SUBACK, alone.
type Subscription struct {
	Filter            []byte
	QoS               QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8 // 0 send, 1 send if new, 2 do not send
}

// Suback answers SUBSCRIBE (and, as UNSUBACK, UNSUBSCRIBE) with one reason per
// filter in order. Version 3 UNSUBACK carries none.
type Suback struct {
	Kind       Kind // SUBACK or UNSUBACK
	PacketID   uint16
	Reasons    []Reason
	Properties Properties
}
