// Package webhook has an HTTP server say who clients are.
//
// It is sent what a client shows of itself in CONNECT, and answers in JSON that the
// client is let in, perhaps under another user name, that it is not, or that others are to
// say. Anything else is no answer: an error, a redirection, a status other than 200, a
// word that is not known, a body too large, or nothing in time. Then nobody is let in
// (auth.ErrUnavailable): a server that cannot be reached opens no door.
//
// The server is asked beside the event loops, by so many goroutines; so many clients wait
// for them, and the time limit includes the wait. Connections to it are kept.
//
// An answer that let a client in may be remembered for a while, under a keyed digest of all
// that the server was shown; others are not, so that guesses push nobody out.
package webhook
