// Package websocket carries a byte stream through WebSocket (RFC 6455): the opening
// handshake, and the frames, as functions of the bytes so far.
//
// MQTT is a stream within binary frames, whose bounds mean nothing ([MQTT-6.0.0-1],
// [MQTT-6.0.0-2]). So there are no messages here: Reader takes the frames off, and
// AppendHead puts one around whatever is sent at a time. Nothing allocates or holds a
// buffer. Control frames are answered on the way, extensions are not
// negotiated, and every other kind of frame ends the connection.
//
// Gate is the server's side of the handshake: which requests become a WebSocket, and
// what the others are told.
package websocket
