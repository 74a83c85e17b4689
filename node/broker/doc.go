// Package broker is the MQTT server between the sockets and the cluster: it
// turns the packets of connections into publishes, subscriptions and deliveries.
//
// A Broker holds what all connections share and no state of its own. The state
// is in its workers, one for each event loop: a worker owns the connections of
// its loop with their live sessions, and nothing of it is touched by another
// goroutine. Whoever has something for a worker posts it as mail to the loop:
// another worker (deliveries), a peer (forwarded publishes), a shard (pushes and
// results), an administrator.
//
// A connection is a place in its worker's slab (slab.go), and what its client is known
// by is a text there (names.go): an idle one is no object of its own to the garbage
// collector.
//
// The path of a PUBLISH: receive.go -> publish.go (check, stages, match) ->
// deliver.go (subscribers here), forward.go (peers), persist.go (shards) ->
// pending.go (what to answer, when every leg has reported) -> gate.go (the answer,
// when the node may).
// The path of a CONNECT: receive.go -> connect.go (authenticate, claim) ->
// connected in the same file (CONNACK, resends).
package broker
