package mqtt

// Error is a decoding failure with the reason code that answers it.
type Error struct {
	Reason Reason
	Text   string
}

func (e *Error) Error() string { return "mqtt: " + e.Text }

// Refusals are made once: bad input must not cost memory (P10). They hold no
// bytes of the packet, so they can be logged as they are (case 55).
var (
	errShort        = &Error{MalformedPacket, "packet ends within a field"}
	errTrailing     = &Error{MalformedPacket, "bytes after the last field"}
	errVariable     = &Error{MalformedPacket, "variable byte integer of five bytes or not minimal"}
	errTooLarge     = &Error{PacketTooLarge, "packet longer than allowed"}
	errReserved     = &Error{MalformedPacket, "reserved packet type"}
	errFlags        = &Error{MalformedPacket, "wrong flags in the first byte"}
	errPublishFlags = &Error{MalformedPacket, "PUBLISH with QoS 3, or with DUP and QoS 0"}
	errText         = &Error{MalformedPacket, "string is not UTF-8 or has U+0000"}
	errPacketID     = &Error{ProtocolError, "packet identifier 0"}
	errReason       = &Error{ProtocolError, "reason code that this packet does not have"}

	errProtocol       = &Error{UnsupportedProtocolVersion, "unknown protocol name or level"}
	errConnectFlags   = &Error{MalformedPacket, "CONNECT with the reserved flag, will flags without a will, or will QoS 3"}
	errPasswordAlone  = &Error{MalformedPacket, "password without user name"}
	errNoClientID     = &Error{ClientIDNotValid, "3.1 client without a client identifier"}
	errNoWillTopic    = &Error{TopicNameInvalid, "will without a topic"}
	errConnackFlags   = &Error{MalformedPacket, "CONNACK with reserved flags"}
	errSessionPresent = &Error{ProtocolError, "session present beside a refusal"}
	errReturnCode     = &Error{ProtocolError, "unknown return code"}

	errTopic      = &Error{TopicNameInvalid, "wildcard in a topic name"}
	errNoTopic    = &Error{ProtocolError, "PUBLISH without topic or topic alias"}
	errTopicAlias = &Error{TopicAliasInvalid, "topic alias 0"}
	errPayload    = &Error{PayloadFormatInvalid, "payload is not the UTF-8 it is said to be"}

	errNoFilters      = &Error{ProtocolError, "no topic filter"}
	errNoReasons      = &Error{ProtocolError, "no reason code"}
	errOptionBits     = &Error{MalformedPacket, "reserved subscription option"}
	errOptionQoS      = &Error{ProtocolError, "subscription with QoS 3"}
	errRetainHandling = &Error{ProtocolError, "retain handling 3"}

	errProperty          = &Error{MalformedPacket, "unknown property, or one of another packet"}
	errPropertyTwice     = &Error{ProtocolError, "property given twice"}
	errPropertyValue     = &Error{ProtocolError, "property with a value that it cannot have"}
	errPropertyResponse  = &Error{ProtocolError, "response topic empty or with a wildcard"}
	errUserProperties    = &Error{QuotaExceeded, "too many user properties"}
	errUserPropertyBytes = &Error{QuotaExceeded, "user properties too long"}
	errNoAuthMethod      = &Error{ProtocolError, "authentication without a method"}

	errFromServer = &Error{ProtocolError, "packet, property or reason code that only a server sends"}
	errFromClient = &Error{ProtocolError, "packet, property or reason code that only a client sends"}
)
