// Package clusterpb is the wire contract between nodes that protobuf describes:
// the gRPC service, the handshake and what gossip says of a member. The frames
// that the service's streams carry are laid out by hand in package cluster.
package clusterpb

//go:generate go -C ../../cmd/tools run ./gen
