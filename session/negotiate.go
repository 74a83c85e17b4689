package session

import "dunlin/proto/mqtt"

// Policy is what a server allows beyond Limits.
type Policy struct {
	MaxKeepAlive     uint16 // seconds; 0: whatever the client wants
	MaxSessionExpiry uint32 // seconds; Forever: whatever the client wants
}

// Agreed is what holds for a connection once CONNACK is sent.
type Agreed struct {
	KeepAlive     uint16 // seconds; 0: off
	SessionExpiry uint32 // seconds after the connection; 0: ends with it
}

// Negotiate decides what holds between a client that sent c and a server with lim
// and pol, and writes into ack what the client must be told: a 5.0 client all
// that is not as it asked. An older one cannot be told and is held to no more
// than what it asked for; only the life of its session is capped unsaid, as its
// versions name no duration.
func Negotiate(c *mqtt.Connect, lim Limits, pol Policy, ack *mqtt.Connack) Agreed {
	if c.Version != mqtt.V5 {
		a := Agreed{KeepAlive: c.KeepAlive}
		if !c.CleanStart {
			a.SessionExpiry = pol.MaxSessionExpiry // [MQTT-3.1.2-5 of 3.1.1]
		}
		return a
	}
	a := Agreed{KeepAlive: c.KeepAlive, SessionExpiry: min(c.SessionExpiry, pol.MaxSessionExpiry)}
	if m := pol.MaxKeepAlive; m != 0 && (a.KeepAlive == 0 || a.KeepAlive > m) {
		a.KeepAlive = m
		ack.HasServerKeepAlive, ack.ServerKeepAlive = true, m // [MQTT-3.2.2-21]
	}
	if a.SessionExpiry != c.SessionExpiry {
		ack.HasSessionExpiry, ack.SessionExpiry = true, a.SessionExpiry
	}
	ack.ReceiveMaximum = lim.ReceiveMaximum
	ack.MaximumPacketSize = lim.MaximumPacketSize
	ack.TopicAliasMaximum = lim.TopicAliasMaximum
	return a
}

// Patience is how long a server waits for a packet of a client with that keep
// alive: one and a half times as long [MQTT-3.1.2-22]. 0: for ever.
func (a Agreed) Patience() Time { return Seconds(uint32(a.KeepAlive)) * 3 / 2 }

// Disconnected is the session's expiry after the client's DISCONNECT, which may
// name another. That it raises none from 0 is seen to by Live.
func (a Agreed) Disconnected(d *mqtt.Disconnect, pol Policy) uint32 {
	if d.HasSessionExpiry {
		return min(d.SessionExpiry, pol.MaxSessionExpiry)
	}
	return a.SessionExpiry
}
