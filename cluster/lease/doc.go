// Package lease says whether this node may acknowledge, and for whom it must wait
// before it does (GUARANTEES E4).
//
// A node acknowledges only while it holds a lease: a majority of meta's voters
// granted it, each from its own state, and no leader is needed. A SUBACK waits
// for every node that counts here, and a node counts from before it can hold a
// lease until none can be held in its name any more. DESIGN.md has the argument.
//
// Rules for callers:
//
//   - Held is asked after a message was matched and before its acknowledgement is
//     written, not earlier.
//   - Whoever stops counting may be forgotten, with its routes and what is on its
//     way to it; nobody else, however long it is silent.
//   - Whoever stops counting may have clients still: what these own is given up
//     when Closed lists it, not before.
//   - Options.Standing returns, when told Isolated, only once nothing more is
//     acknowledged to the clients of before.
//
// What is decided is in pure functions: grant.go (a voter's rules), round.go (what
// grants are worth), ending.go (when a generation is over), decide.go (who is
// revoked). lease.go and its neighbours are the clock and the asks around them.
package lease
