package verify

import (
	"context"

	"dunlin/router"
)

// Asker asks nodes, by identity, and the leaders of shards. Its calls may fail, and
// take no longer than ctx allows.
type Asker interface {
	// Replicas lists what a node has of shards. at are indices in the logs, by shard,
	// of which it tells the digest if it can.
	Replicas(ctx context.Context, node string, at map[int]uint64) ([]Replica, error)
	// Routes is what a node routes, and holds of others' routes.
	Routes(ctx context.Context, node string) (Routes, error)
	// Sessions calls yield with each session or claim that has a connection, as the
	// leader of the shard holds it at one moment.
	Sessions(ctx context.Context, shard int, yield func(Session)) error
	// Connections calls yield with each connection of a node that holds a claim at
	// the shard.
	Connections(ctx context.Context, node string, shard int, yield func(Connection)) error
}

// Replica is a node's replica of a shard.
type Replica struct {
	Shard  int    `json:"shard"`
	Leads  bool   `json:"leads"`
	Term   uint64 `json:"term"`
	Index  uint64 `json:"index"` // of the latest entry applied; 0 if none was since a snapshot
	Digest uint64 `json:"digest"`

	Known bool   `json:"known"` // the digest at the index that was asked for
	Then  uint64 `json:"then"`  // is this
}

// Routes are a node's route tables.
type Routes struct {
	Own    Table            `json:"own"`
	Peers  map[string]Table `json:"peers"`  // by identity: what the node holds of them
	Shards map[int]Table    `json:"shards"` // what it holds of them
	Led    map[int]Table    `json:"led"`    // those of the shards that it leads
}

// Table describes a set of routes.
type Table struct {
	Reign   uint64     `json:"reign"` // of a shard's: the leadership that they are of
	Version uint64     `json:"version"`
	Whole   bool       `json:"whole"`
	Steady  bool       `json:"steady"` // Sum is of Version: nothing changed meanwhile
	Sum     router.Sum `json:"sum"`
}

// Session is a session or claim that has a connection.
type Session struct {
	Client string `json:"client"`
	Node   string `json:"node"` // identity
	Conn   uint64 `json:"conn"`
	Epoch  uint64 `json:"epoch"`
}

// Connection is one that holds a claim.
type Connection struct {
	Client string `json:"client"`
	Conn   uint64 `json:"conn"`
	Epoch  uint64 `json:"epoch"`
}
