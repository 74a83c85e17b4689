// Package admin is the node's HTTP interface: health for load balancers and
// Kubernetes, metrics, the API, and a status page.
//
// The same routes are served twice: over TCP at http-addr, and on the unix
// socket admin.sock (0600) in the data directory, whose users are who may read
// that directory. On a loopback address everything is served to who is on this machine. Beyond
// it a request must bear a token (package token) whose scope is enough for the route
// (guard.go), over TLS; without TLS there are health and metrics alone (case 54). Against
// web pages that speak to loopback through a visitor's browser, a request must name a
// loopback host, so that no DNS name can be rebound to it, and one that changes something
// must not come from another origin. There are no cookies and no passwords.
//
// What changes something, and who is turned away, stands in the audit log.
package admin
