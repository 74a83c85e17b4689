// Package cases holds running nodes to section 5 of GUARANTEES, bad input and abuse: each of
// its cases is a row of a table and a test of this name, on every way to a node where it
// applies, beside clients that must not notice and with a look at what the node holds
// afterwards (P10). It has tests only; docs/security.md says how to run them.
package cases
