// Package feed is what every feed of routes to other nodes is made of: the form of
// route changes on the wire, how long they gather before they go, and the barrier at
// which a SUBACK waits until they have arrived.
package feed
