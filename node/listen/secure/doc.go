// Package secure is TLS as a layer of node/listen's connections.
//
// A handshake costs a processor a tenth of a millisecond to several, so it runs in a
// goroutine of its own, which ends with it. It begins only when the peer's first record
// is there, so that who says nothing costs nothing but its place among the opening
// connections, and only so many run at a time: when all are taken, the one that waits
// for its peer for longest makes room. Of those that run, no more compute at a time than
// there are processors.
//
// After that the loop drives the tls.Conn. It stands on a net.Conn that holds the
// bytes of the call at hand and no others (pipe): for more it answers with an error
// that is temporary, after which crypto/tls remains usable, and it shows a record only
// when all of it is there. So an idle tls.Conn has no goroutine, and nothing in
// its buffers, which are taken from it (buffers.go).
package secure
