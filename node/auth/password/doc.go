// Package password keeps and checks passwords.
//
// A password is kept as a Hash, argon2id in the PHC string format
// ($argon2id$v=19$m=19456,t=2,p=1$salt$hash); what mosquitto_passwd wrote
// ($7$iterations$salt$hash, PBKDF2 with SHA-512) is understood, so that its users
// can move without a new password.
//
// To check one takes some 20 ms and 19 MiB by design. A Checker does that in a process of
// its own, which the machine lets run where nobody else wants to, a bounded number at a
// time with a bounded line before them, so that a storm of wrong passwords costs the
// clients that are in little. Right
// passwords are remembered for a while, by a keyed digest of them and of the Hash:
// a fleet that comes back after a network failure is let in without hashing, and
// a user whose password has changed is not.
package password
