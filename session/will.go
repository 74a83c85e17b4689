package session

import "dunlin/proto/mqtt"

// WillFires says whether the end of a connection publishes its will, at once or
// after its delay. Each does [MQTT-3.1.2-8], a lost connection, a takeover and a
// DISCONNECT of the server included, but for a DISCONNECT of the client with
// reason 0x00, which deletes it [MQTT-3.1.2-10] [MQTT-3.14.4-3]. That a server sends its
// clients elsewhere in good order is no exception: who is to come back unnoticed has a delay.
func WillFires(byClient bool, reason mqtt.Reason) bool {
	return !byClient || reason != mqtt.Success
}

// WillDelay is how long after its connection a will fires, in seconds: after its
// delay or when the session ends, whichever comes first. A session resumed
// before that keeps it from firing [MQTT-3.1.3-9].
func WillDelay(delay, sessionExpiry uint32) uint32 { return min(delay, sessionExpiry) }
