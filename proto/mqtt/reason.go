package mqtt

import "strconv"

// Reason is a reason code; below 0x80 it speaks of success.
type Reason uint8

// Every reason code of MQTT 5.0.
const (
	Success                     Reason = 0x00 // also normal disconnection, granted QoS 0
	GrantedQoS1                 Reason = 0x01
	GrantedQoS2                 Reason = 0x02
	DisconnectWithWill          Reason = 0x04
	NoMatchingSubscribers       Reason = 0x10
	NoSubscriptionExisted       Reason = 0x11
	ContinueAuthentication      Reason = 0x18
	ReAuthenticate              Reason = 0x19
	Unspecified                 Reason = 0x80
	MalformedPacket             Reason = 0x81
	ProtocolError               Reason = 0x82
	ImplementationSpecific      Reason = 0x83
	UnsupportedProtocolVersion  Reason = 0x84
	ClientIDNotValid            Reason = 0x85
	BadUsernameOrPassword       Reason = 0x86
	NotAuthorized               Reason = 0x87
	ServerUnavailable           Reason = 0x88
	ServerBusy                  Reason = 0x89
	Banned                      Reason = 0x8A
	ServerShuttingDown          Reason = 0x8B
	BadAuthenticationMethod     Reason = 0x8C
	KeepAliveTimeout            Reason = 0x8D
	SessionTakenOver            Reason = 0x8E
	TopicFilterInvalid          Reason = 0x8F
	TopicNameInvalid            Reason = 0x90
	PacketIDInUse               Reason = 0x91
	PacketIDNotFound            Reason = 0x92
	ReceiveMaximumExceeded      Reason = 0x93
	TopicAliasInvalid           Reason = 0x94
	PacketTooLarge              Reason = 0x95
	MessageRateTooHigh          Reason = 0x96
	QuotaExceeded               Reason = 0x97
	AdministrativeAction        Reason = 0x98
	PayloadFormatInvalid        Reason = 0x99
	RetainNotSupported          Reason = 0x9A
	QoSNotSupported             Reason = 0x9B
	UseAnotherServer            Reason = 0x9C
	ServerMoved                 Reason = 0x9D
	SharedNotSupported          Reason = 0x9E
	ConnectionRateExceeded      Reason = 0x9F
	MaximumConnectTime          Reason = 0xA0
	SubscriptionIDsNotSupported Reason = 0xA1
	WildcardsNotSupported       Reason = 0xA2
)

// reasonNames are the names in the standard, table 2-6.
var reasonNames = [...]string{
	Success:                     "success",
	GrantedQoS1:                 "granted QoS 1",
	GrantedQoS2:                 "granted QoS 2",
	DisconnectWithWill:          "disconnect with will message",
	NoMatchingSubscribers:       "no matching subscribers",
	NoSubscriptionExisted:       "no subscription existed",
	ContinueAuthentication:      "continue authentication",
	ReAuthenticate:              "re-authenticate",
	Unspecified:                 "unspecified error",
	MalformedPacket:             "malformed packet",
	ProtocolError:               "protocol error",
	ImplementationSpecific:      "implementation specific error",
	UnsupportedProtocolVersion:  "unsupported protocol version",
	ClientIDNotValid:            "client identifier not valid",
	BadUsernameOrPassword:       "bad user name or password",
	NotAuthorized:               "not authorized",
	ServerUnavailable:           "server unavailable",
	ServerBusy:                  "server busy",
	Banned:                      "banned",
	ServerShuttingDown:          "server shutting down",
	BadAuthenticationMethod:     "bad authentication method",
	KeepAliveTimeout:            "keep alive timeout",
	SessionTakenOver:            "session taken over",
	TopicFilterInvalid:          "topic filter invalid",
	TopicNameInvalid:            "topic name invalid",
	PacketIDInUse:               "packet identifier in use",
	PacketIDNotFound:            "packet identifier not found",
	ReceiveMaximumExceeded:      "receive maximum exceeded",
	TopicAliasInvalid:           "topic alias invalid",
	PacketTooLarge:              "packet too large",
	MessageRateTooHigh:          "message rate too high",
	QuotaExceeded:               "quota exceeded",
	AdministrativeAction:        "administrative action",
	PayloadFormatInvalid:        "payload format invalid",
	RetainNotSupported:          "retain not supported",
	QoSNotSupported:             "QoS not supported",
	UseAnotherServer:            "use another server",
	ServerMoved:                 "server moved",
	SharedNotSupported:          "shared subscriptions not supported",
	ConnectionRateExceeded:      "connection rate exceeded",
	MaximumConnectTime:          "maximum connect time",
	SubscriptionIDsNotSupported: "subscription identifiers not supported",
	WildcardsNotSupported:       "wildcard subscriptions not supported",
}

// String is the name in the standard: "quota exceeded".
func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return "reason 0x" + strconv.FormatUint(uint64(r), 16)
}

// Failed says whether r is of the codes, from 0x80, that speak of failure.
func (r Reason) Failed() bool { return r >= Unspecified }

const (
	inPuback     = 1<<PUBACK | 1<<PUBREC
	inSuback     = 1 << SUBACK
	inUnsuback   = 1 << UNSUBACK
	inGoodbye    = inDisconnect | inFarewell
	inFarewell   = 1 << kindFarewell
	kindFarewell = 0 // DISCONNECT from a client, in the place of the packet type that does not exist
)

// reasonsIn tells which packets a reason may stand in, as bits 1<<Kind. 0x8C in
// DISCONNECT is not in the standard's table 3-10, but in table 2-6.
var reasonsIn = [256]uint16{
	Success:                     inConnack | inAcks | inSubacks | inGoodbye | inAuth,
	GrantedQoS1:                 inSuback,
	GrantedQoS2:                 inSuback,
	DisconnectWithWill:          inGoodbye,
	NoMatchingSubscribers:       inPuback,
	NoSubscriptionExisted:       inUnsuback,
	ContinueAuthentication:      inAuth,
	ReAuthenticate:              inAuth,
	Unspecified:                 inConnack | inPuback | inSubacks | inGoodbye,
	MalformedPacket:             inConnack | inGoodbye,
	ProtocolError:               inConnack | inGoodbye,
	ImplementationSpecific:      inConnack | inPuback | inSubacks | inGoodbye,
	UnsupportedProtocolVersion:  inConnack,
	ClientIDNotValid:            inConnack,
	BadUsernameOrPassword:       inConnack,
	NotAuthorized:               inConnack | inPuback | inSubacks | inDisconnect,
	ServerUnavailable:           inConnack,
	ServerBusy:                  inConnack | inDisconnect,
	Banned:                      inConnack,
	ServerShuttingDown:          inDisconnect,
	BadAuthenticationMethod:     inConnack | inDisconnect,
	KeepAliveTimeout:            inDisconnect,
	SessionTakenOver:            inDisconnect,
	TopicFilterInvalid:          inSubacks | inDisconnect,
	TopicNameInvalid:            inConnack | inPuback | inGoodbye,
	PacketIDInUse:               inPuback | inSubacks,
	PacketIDNotFound:            1<<PUBREL | 1<<PUBCOMP,
	ReceiveMaximumExceeded:      inGoodbye,
	TopicAliasInvalid:           inGoodbye,
	PacketTooLarge:              inConnack | inGoodbye,
	MessageRateTooHigh:          inGoodbye,
	QuotaExceeded:               inConnack | inPuback | inSuback | inGoodbye,
	AdministrativeAction:        inGoodbye,
	PayloadFormatInvalid:        inConnack | inPuback | inGoodbye,
	RetainNotSupported:          inConnack | inDisconnect,
	QoSNotSupported:             inConnack | inDisconnect,
	UseAnotherServer:            inConnack | inDisconnect,
	ServerMoved:                 inConnack | inDisconnect,
	SharedNotSupported:          inSuback | inDisconnect,
	ConnectionRateExceeded:      inConnack | inDisconnect,
	MaximumConnectTime:          inDisconnect,
	SubscriptionIDsNotSupported: inSuback | inDisconnect,
	WildcardsNotSupported:       inSuback | inDisconnect,
}

// in says whether the standard has r in packets of kind.
func (r Reason) in(kind Kind) bool { return reasonsIn[r]&(1<<kind) != 0 }

// returnCodes are the CONNACK return codes of 3.1 and 3.1.1.
var returnCodes = [...]Reason{Success, UnsupportedProtocolVersion, ClientIDNotValid, ServerUnavailable, BadUsernameOrPassword, NotAuthorized}

// ReturnCode is the CONNACK return code of 3.1 and 3.1.1 that says r, or what
// comes close to it. A reason that has none is not answered at all.
func (r Reason) ReturnCode() (code byte, ok bool) {
	switch r {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIDNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, UseAnotherServer, ServerMoved, ConnectionRateExceeded, QuotaExceeded:
		return 3, true
	case BadUsernameOrPassword:
		return 4, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5, true
	}
	return 0, false
}
