// Package token answers whose a bearer token of the API is, and what it may be used for.
//
// A token is 256 random bits, shown once and kept nowhere: what is kept is its SHA-256,
// which is enough for a secret that nobody can guess. Whoever finds the hashes cannot
// use them.
package token
