// Package mqtt reads and writes the control packets of MQTT 3.1, 3.1.1 and 5.0.
//
// Reading is in two steps. [Cut] finds the next whole packet in a stream's
// bytes and refuses one that is too long before anybody has to hold it;
// [Decode] reads it into a [Packet] that the caller keeps and reuses. Nothing is
// copied: every byte slice of a decoded packet borrows the bytes it came from,
// so whoever keeps a packet longer than its buffer takes a Clone.
//
// Writing appends to the caller's buffer: each kind has an Append method, and
// none allocates when the packet fits.
//
// Decode is strict and stateless. It refuses, with the reason code that answers
// it, whatever is wrong with a packet taken alone, in either direction;
// [Packet.FromClient] and [Packet.FromServer] refuse what only the other side
// may send. What depends on more than the packet is left to others: second
// CONNECT, alias maximum, Receive Maximum and a session expiry raised from zero
// to the session; the shape of topic filters to the router; an empty client
// identifier without clean session ([MQTT-3.1.3-8] of 3.1.1), limits on keep
// alive and the like to the broker.
package mqtt
