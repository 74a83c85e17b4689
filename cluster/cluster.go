package cluster

import (
	"context"

	"dunlin/router"
)

// Token is the caller's name for a forwarded frame.
type Token uint64

// Receiver is the broker as the cluster calls it. The calls come from stream
// goroutines, those about one peer in order, and may not block for long.
type Receiver interface {
	// Forwarded takes a frame of messages from a peer, in the order it was sent
	// by each of the peer's loops. body is borrowed until return. done is called once, from
	// any goroutine, when everything in it has been accepted; nil for a frame
	// that wants no confirmation.
	Forwarded(from router.NodeID, body []byte, done func())
	// Confirmed tells that the peer has accepted the frame of that token, or is
	// declared dead (lost true): what was there is gone with it.
	Confirmed(to router.NodeID, token Token, lost bool)
	// Joined and Left tell of members; Left comes after the last Confirmed.
	Joined(n Node)
	Left(n Node)
}

// Node is a member of the cluster.
type Node struct {
	ID          router.NodeID // 0 is this node
	Name        string        // node name, for people
	Identity    string        // stable identity
	ClusterAddr string
	State       string            // "alive", "suspect", "joining"
	Meta        map[string]string // addresses for people: mqtt, http
}

// Frame is what one loop has gathered for one peer in a turn. Body is the
// broker's (see frame.go for its messages); the cluster takes ownership and
// gives it back through Recycle.
type Frame struct {
	Body     []byte
	Reliable bool // resent until confirmed; otherwise dropped when the stream is down or behind
	Token    Token
}

// Cluster is this node's membership and its peers.
type Cluster struct{}

// Start, Shutdown, Forward, Routed and Nodes are the whole of what callers need.
func (c *Cluster) Start(ctx context.Context) error    { panic("seam") }
func (c *Cluster) Shutdown(ctx context.Context) error { panic("seam") }

// Forward queues f for a peer, behind what was queued before. It reports false,
// having taken nothing, for a frame that is not reliable while the peer's queue is full or its
// stream down. The queue of reliable frames has a byte bound too: Full tells
// that the peer is behind, so that callers stop reading from publishers.
func (c *Cluster) Forward(to router.NodeID, f Frame) bool { panic("seam") }
func (c *Cluster) Full(to router.NodeID) bool             { panic("seam") }

// Routed calls done, from any goroutine and at once if it can, when every live
// member has confirmed this node's routes up to version (E4; P4).
func (c *Cluster) Routed(version uint64, done func()) { panic("seam") }

// Nodes lists the members, this node first.
func (c *Cluster) Nodes() []Node { panic("seam") }

// Ready says whether this node has joined and holds the routes of all members;
// the error names what is missing.
func (c *Cluster) Ready() error { panic("seam") }
