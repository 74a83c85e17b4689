// Package proxyproto reads what a proxy says of the connection that it relays: the
// header of the PROXY protocol, version 1 or 2, before the first byte of the client.
//
// The header is an assertion, and whoever may make it may be anybody: a listener
// takes one from the proxies it trusts and from nobody else, and from those it takes
// nothing without one. A stream that might or might not begin with a header could be
// given one by the client.
//
// Parse is a function of the bytes so far. It keeps nothing, so that a header that
// comes in pieces costs what is kept of the input and no more.
package proxyproto
