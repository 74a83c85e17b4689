// Package meta is the state machine of the group that holds what concerns the
// whole cluster: its identity, its nodes, where the replicas of each group are,
// and run-time settings.
//
// It is small and changes seldom, so that every state is immutable: Apply makes
// the next one of it, readers hold the one they found, and a snapshot is a
// pointer. Commands and states are JSON behind a version byte; a field or command
// that this release does not know stops the node, since replicas would part.
package meta
