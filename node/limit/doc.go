// Package limit says who may open a connection, connect and send, now: how many, how
// often, how fast, after how many wrong passwords, and whether the node has room at all.
//
// A Door is asked by event loops at each step of a client's way in, the sooner the dearer
// what would follow: Arrive when a connection has come and nothing was spent on it yet,
// Greet when CONNECT is there and nobody knows who sent it, Enter when that is known. Left
// takes back what was counted. Logins stands before the authenticators,
// and Proofs before the methods.
//
// A Flow is the rates at which each client that is let in may send, and an Account what one has sent. A Mark
// watches what the node must not run out of, and tells its Pressure, which the Door asks
// and whoever would store something.
//
// Rules for callers: nothing here blocks, waits or hashes a password, and what is asked
// for each connection takes a few tenths of a microsecond at most; but for Mark.Look, which asks the
// system and is for a goroutine of its own. Times are monotonic.
//
// Of addresses, users and their pairs a Door remembers numbers, by a keyed digest, in
// tables that are bounded (table.go). What finds no room there shares its bucket with
// others in the same straits: never is it let pass for want of memory.
package limit
