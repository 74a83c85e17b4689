// Package session is the MQTT session as a pure machine: given an input and a
// time it says what to send and what to do. It does no I/O, starts no goroutine
// and reads no clock.
package session
