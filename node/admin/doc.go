// Package admin is the node's HTTP interface: health for load balancers and
// Kubernetes, metrics, the API, and a status page.
//
// The same routes are served twice: over TCP at http-addr, and on the unix
// socket admin.sock (0600) in the data directory, whose users are who may read
// that directory. There are no tokens in this version. Hence the API and the page
// answer over TCP only when http-addr is a loopback address; beyond loopback it
// serves health and metrics and refuses the rest (case 54). Against web pages that
// speak to loopback through a visitor's browser, a request must name a loopback
// host, so that no DNS name can be rebound to it, and one that changes something
// must not come from another origin.
package admin
