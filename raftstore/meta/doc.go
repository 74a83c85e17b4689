// Package meta is the state machine of the group that holds what concerns the
// whole cluster: its identity, its nodes, where the replicas of each group are,
// run-time settings, and records.
//
// # Records
//
// A Record is a small text under a name: a user, say, or a token of administrators. Records
// are of kinds; what they mean is known to whoever puts those of a kind, and bounded in number
// and bytes here. Each change of a kind gives it the next revision, which the record that was
// changed keeps, so that a reader knows what is new to it, and a writer can say what it has seen
// (PutRecord.Was).
//
// Every node has a replica of meta, whether it votes or not, and reads there, a moment behind
// the leader. cluster/control has what a node works with, Control.Records:
//
//	users := control.Records(meta.KindUser)
//	all := users.All()                            // *Records, immutable: All, Find, Revision
//	rev, err := users.Put(ctx, name, value)       // this node has it when Put returns
//	rev, err = users.Replace(ctx, name, value, 0) // ErrChanged if it is there
//	err = users.Remove(ctx, name)                 // ErrNoRecord if it is not
//	users.Watch(func(all *meta.Records) { ... })  // now, and after each change; may not block
//
// # States
//
// It is small and changes seldom, so that every state is immutable: Apply makes
// the next one of it, readers hold the one they found, and a snapshot is a
// pointer. Commands and states are JSON behind a version byte; a field or command
// that this release does not know stops the node, since replicas would part.
//
// # Levels
//
// So that there is none while nodes of two releases are there, meta also says what all nodes
// understand: State.InForce, which Raise changes. See package level.
package meta
