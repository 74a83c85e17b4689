// Package conformance asks running nodes what the standard asks of a server:
// with clients of other makers, and byte by byte with input that no good client
// sends (GUARANTEES section 5). Statements of the standard are cited where they
// are tested. It has tests only.
package conformance
