package mqtt

// FromClient refuses (0x82) what decodes well but only a server sends: case 7's
// packets, subscription identifiers in PUBLISH [MQTT-3.3.4-6], a server's
// properties and reasons. A server asks after each Decode. That the first
// packet, and no other, is CONNECT is for the caller to see.
func (p *Packet) FromClient() error {
	switch p.Kind {
	case PUBLISH:
		if len(p.Publish.SubscriptionIDs) != 0 {
			return errFromServer
		}
	case CONNACK, SUBACK, UNSUBACK, PINGRESP:
		return errFromServer
	case DISCONNECT:
		if !p.Disconnect.Reason.in(kindFarewell) || p.Disconnect.ServerReference != nil {
			return errFromServer
		}
	case AUTH:
		if p.Auth.Reason == Success {
			return errFromServer
		}
	}
	return nil
}

// FromServer refuses (0x82) what decodes well but only a client sends. A client
// asks after each Decode. The version matters to DISCONNECT, which a server has
// in 5.0 alone.
func (p *Packet) FromServer(v Version) error {
	switch p.Kind {
	case CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ:
		return errFromClient
	case DISCONNECT:
		if v != V5 || p.Disconnect.Reason == DisconnectWithWill || p.Disconnect.HasSessionExpiry {
			return errFromClient // [MQTT-3.14.2-2]
		}
	case AUTH:
		if p.Auth.Reason == ReAuthenticate {
			return errFromClient
		}
	}
	return nil
}
