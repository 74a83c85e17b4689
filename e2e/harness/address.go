package harness

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// hosts counts the addresses given out by this process.
var hosts atomic.Uint32

// Host is a loopback address for a Place.
func Host(t testing.TB) string {
	t.Helper()
	return host(t)
}

// host is a loopback address that is nobody else's: the whole of 127.0.0.0/8 is
// this machine's, and with an address of its own a node finds its ports free
// again after a restart, whatever else runs.
func host(t testing.TB) string {
	t.Helper()
	pid := os.Getpid()
	for range 1000 {
		n := hosts.Add(1)
		h := fmt.Sprintf("127.%d.%d.%d", 2+pid/250%250, 2+pid%250, 1+n%250)
		l, err := net.Listen("tcp", net.JoinHostPort(h, mqttPort))
		if err == nil {
			l.Close()
			return h
		}
	}
	t.Fatal("harness: no free loopback address")
	return ""
}

// The ports are the same on each node's address.
const (
	mqttPort    = "1883"
	mqttsPort   = "8883"
	wsPort      = "8083"
	wssPort     = "8084"
	httpPort    = "18083"
	gossipPort  = "7946"
	clusterPort = "7947"
	linkPort    = "7957" // the link to the cluster port, where there is one
)
