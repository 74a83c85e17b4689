// Package client has MQTT 5 clients that live through faults and record what
// they did and saw: they keep or lose their session, resend what was not
// answered, move between nodes, also in the middle of a handshake, and never take
// silence for an answer.
//
// A Client has one goroutine, which owns all of it; its methods are asked from
// outside and done there.
package client
