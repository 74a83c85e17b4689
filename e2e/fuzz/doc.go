// Package fuzz lets clients that are half right loose on a cluster of real
// processes, and holds the cluster to P10: no node panics, leaks or says what is no
// MQTT, no connection is left hanging, and who behaves is served meanwhile, in order
// and without loss (case 60 of GUARANTEES section 5).
//
// What one of these clients does is a Script, which follows from the seed of the run
// and the script's number (compose.go): a session of MQTT as it might be, by TCP,
// TLS, WebSocket or both, over which a mutator has gone, more often than not
// (mutate.go). Scripts share client identifiers, topics, share groups and packet
// identifiers, so that they meet. A player (player.go) plays one and judges what the
// node says to it (ear.go); bystanders (bystander.go) are disturbed by nothing.
//
// A run that finds something keeps the scripts that were played last in a file, which
// is played again by -fuzz.replay, and kept in testdata when what it found is mended.
package fuzz
