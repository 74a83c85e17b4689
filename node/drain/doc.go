// Package drain answers how fast clients go from a node that they are to leave, and which
// nodes of a cluster have too many. It knows nothing of what a client is, and decides by what
// it is given: Plan is a function, Pace is one of the times at which it is asked, and Leave
// waits by the clock that a test may replace by one of its own.
package drain
