//go:build !linux

package cluster

import (
	"net"
	"time"
)

// limitUnacknowledged is left to gRPC's pings where there is no such option.
func limitUnacknowledged(net.Conn, time.Duration) {}
