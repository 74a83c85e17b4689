// Package placement decides which nodes hold which groups' replicas, and which
// of them lead: Next maps what is now to the next small steps, and nothing else.
// It has no state, no clock and no randomness, so that whoever reconciles may be
// replaced at any step and the next one goes on with what it finds.
//
// What it leads to, while nothing else changes:
//
//   - a group's voters are the largest odd number <= min(factor, nodes). A node
//     counts until it leaves by command, dead or not: a stopped node shrinks nothing;
//   - nodes that are alive hold equally many replicas and lead equally many groups,
//     give or take one; drained ones lead nothing that another one could;
//   - no more replicas were moved than that takes.
//
// On the way, every step leaves a majority of its group's voters alive, and a
// replica is replaced before it is removed. Steps are idempotent and name what
// they need, so that one which fails or comes late is merely proposed again.
//
// The caller carries out the steps, at most one per group at a time, and calls
// Next with what has become of them.
package placement
