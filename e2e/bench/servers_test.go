package bench

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"dunlin/e2e/harness"
)

// server is one of the brokers compared, running.
type server struct {
	publish, subscribe string // addresses, with commas between
	pids               []int
	replicated         bool
	login              []string // what the load tester is to say of who it is
}

// floor starts the bare relay.
func floor(t testing.TB, topology string) server {
	addr := harness.Address(t)
	pid := harness.Program(t, addr, exec.Command(harness.Binary(t), "bench", "floor", "--addr", addr, "--topology", topology))
	return server{publish: addr, subscribe: addr, pids: []int{pid}}
}

// mosquitto starts Debian's, without bounds that would lose messages.
func mosquitto(t testing.TB, path string) server {
	addr := harness.Address(t)
	host, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := "listener " + port + " " + host + `
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
log_type none
`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := harness.Program(t, addr, exec.Command(path, "-c", conf))
	return server{publish: addr, subscribe: addr, pids: []int{pid}}
}

// dunlin starts a cluster; of one or two nodes, publishers are on the first and
// subscribers on the last, of three each subscriber is beside its publisher's.
func dunlin(t testing.TB, nodes int) server {
	c := harness.Start(t, harness.Options{Nodes: nodes, Args: []string{"--shards", strconv.Itoa(*shardsFlag)}})
	s := server{publish: c.Nodes[0].MQTT, subscribe: c.Nodes[nodes-1].MQTT, replicated: c.Replicated()}
	if nodes == 3 {
		a, b, c := c.Nodes[0].MQTT, c.Nodes[1].MQTT, c.Nodes[2].MQTT
		s.publish, s.subscribe = strings.Join([]string{a, b, c}, ","), strings.Join([]string{b, c, a}, ",")
	}
	for _, n := range c.Nodes {
		s.pids = append(s.pids, n.Pid())
	}
	return s
}

func numbers(ns []int) (out []string) {
	for _, n := range ns {
		out = append(out, strconv.Itoa(n))
	}
	return out
}
