package admin

import (
	"context"
	"time"
)

// Clients are the clients connected to this node, as the broker knows them.
// Calls come from HTTP goroutines and may take as long as ctx allows.
type Clients interface {
	// List returns up to limit clients in ascending order of identifier,
	// beginning after the one named: a page.
	List(ctx context.Context, after string, limit int) ([]Client, error)
	// Get finds one.
	Get(ctx context.Context, id string) (c Client, found bool, err error)
	// Kick closes a client's connection (5.0: DISCONNECT 0x98).
	Kick(ctx context.Context, id string) (found bool, err error)
}

// Cluster is the membership as this node sees it.
type Cluster interface {
	// Nodes lists the members, this node first.
	Nodes() []Node
	// Ready says whether clients should be sent here; the error names what is
	// missing: not joined, not caught up, draining.
	Ready() error
}

// Client is one connected client.
type Client struct {
	ClientID      string    `json:"client_id"`
	Username      string    `json:"username,omitempty"`
	Node          string    `json:"node"`
	Remote        string    `json:"remote"`  // address and port
	Version       string    `json:"version"` // 3.1, 3.1.1 or 5.0
	Connected     time.Time `json:"connected"`
	KeepAlive     int       `json:"keep_alive_seconds"` // 0: none
	Subscriptions int       `json:"subscriptions"`
	Inflight      int       `json:"inflight"` // sent and not acknowledged
	Queued        int       `json:"queued"`   // waiting
}

// Node is one member.
type Node struct {
	Name     string            `json:"name"`
	Identity string            `json:"identity"`
	State    string            `json:"state"`
	Self     bool              `json:"self"`
	Address  map[string]string `json:"addresses"` // mqtt, http, gossip, cluster
}
