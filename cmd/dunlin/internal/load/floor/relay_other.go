//go:build !linux

package floor

import (
	"context"
	"errors"
	"net"
)

// Relay is a relay that listens; only Linux has it.
type Relay struct{}

// Listen binds a TCP address to relay on; Run must follow.
func Listen(string, Topology) (*Relay, error) { return nil, errors.ErrUnsupported }

// Addr is the address bound.
func (*Relay) Addr() net.Addr { return nil }

// Run relays until ctx ends, whose error it returns.
func (*Relay) Run(context.Context) error { return errors.ErrUnsupported }
