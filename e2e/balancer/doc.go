// Package balancer puts HAProxy before three nodes, with the configuration that docs/haproxy.cfg
// shows and PROXY protocol, and has clients come through it. A node is drained and then killed:
// all its clients are at the others again, with their sessions, no faster than was said, and
// nobody else is disturbed.
//
// It runs small with the other tests, and with 5,000 clients by make e2e-balancer, which alone
// judges latency.
package balancer
