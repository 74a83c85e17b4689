// Package scram lets a client prove that it knows a password without showing it, and has
// the server prove that it knows the user: SCRAM (RFC 5802) with SHA-256 (RFC 7677) or
// SHA-512, as a method of enhanced authentication.
//
// Of a password a Verifier is kept, from which the password cannot be had without
// guessing, and which does not let in whoever has stolen it. What guessing costs is the
// iteration count, and it is the client that pays it with each login, never the server:
// that does a few HMACs, so that an event loop may do them itself.
//
// A name that is not there is answered like one that is (case 44): with an iteration
// count that users have, and a salt of its own, the same at each attempt and at each node
// that has the same secret. Only then any proof is wrong. That holds for names whose users
// have no Verifier as well.
//
// There is no channel binding: connections may come through a proxy that ends TLS. Who
// demands it is refused, who would have it goes on without (RFC 5802, section 6).
package scram
