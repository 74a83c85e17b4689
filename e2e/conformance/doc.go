// Package conformance asks running nodes what the standard asks of a server, with
// clients of other makers and with those of the harness, and holds them to who may come
// in. Statements of the standard are cited where they are tested. What bad clients do is
// in e2e/cases. It has tests only.
package conformance
