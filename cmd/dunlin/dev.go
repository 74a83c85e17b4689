package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// dev is the flags of dunlin dev.
type dev struct {
	nodes   int
	offset  int
	dataDir string
	file    string
}

// Ports of the first node; those of the others follow at these steps.
const (
	devMQTT    = 1883
	devWS      = 8083
	devHTTP    = 18083
	devGossip  = 7946
	devCluster = 7947
	devStep    = 10 // of the gossip and cluster ports
	devMost    = 50 // nodes
)

// stopGrace is how long nodes may take to stop before they are killed.
const stopGrace = 20 * time.Second

func newDev() *cobra.Command {
	var d dev
	cmd := &cobra.Command{
		Use:   "dev [flags] [-- flags of dunlin serve]",
		Short: "Run a cluster on this machine",
		Long: `Run a cluster on this machine, each node a process of its own: MQTT at 1883, 1884, 1885 and on, WebSocket
at 8083 and on, HTTP at 18083 and on, gossip at 7946, 7956, ..., cluster at 7947, 7957, ... Everything is bound to
loopback. Ctrl-C stops all nodes, and their data is removed unless --data-dir says where it is to stay. What stands
behind -- is given to every node.`,
		Example: `  dunlin dev
  dunlin dev --nodes 5 --base-port-offset 5000
  dunlin dev --data-dir ./cluster -- --log-level debug`,
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&d.nodes, "nodes", 3, "how many nodes")
	flags.IntVar(&d.offset, "base-port-offset", 0, "added to every port")
	flags.StringVar(&d.dataDir, "data-dir", "", "`directory` for the nodes' data (default: a temporary one)")
	flags.StringVar(&d.file, "config", "", "YAML `file` for all nodes")
	return cmd
}

// devNode is what one node of dev is told.
type devNode struct {
	name, dir                       string
	mqtt, ws, http, gossip, cluster string
}

// layout names the nodes' addresses.
func (d *dev) layout() ([]devNode, error) {
	if d.nodes < 1 || d.nodes > devMost {
		return nil, wrongUsage("--nodes: want 1 to %d", devMost)
	}
	last := devHTTP + d.offset + d.nodes - 1
	if d.offset < 0 || last > 65535 {
		return nil, wrongUsage("--base-port-offset: want 0 to %d with %d nodes", 65535-devHTTP-d.nodes+1, d.nodes)
	}
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+d.offset)) }
	nodes := make([]devNode, d.nodes)
	for i := range nodes {
		name := "n" + strconv.Itoa(i+1)
		nodes[i] = devNode{
			name: name, dir: filepath.Join(d.dataDir, name),
			mqtt: at(devMQTT + i), ws: at(devWS + i), http: at(devHTTP + i),
			gossip: at(devGossip + devStep*i), cluster: at(devCluster + devStep*i),
		}
	}
	return nodes, nil
}

// args are the arguments of node n's dunlin serve.
func (d *dev) args(n devNode, all []devNode, more []string) []string {
	args := []string{
		"serve", "--node-name", n.name, "--data-dir", n.dir, "--mqtt-addr", n.mqtt, "--ws-addr", n.ws, "--http-addr", n.http,
		"--gossip-addr", n.gossip, "--cluster-addr", n.cluster,
	}
	if len(all) > 1 {
		var join []string
		for _, other := range all {
			if other != n {
				join = append(join, other.gossip)
			}
		}
		args = append(args, "--join", strings.Join(join, ","), "--bootstrap-expect", strconv.Itoa(len(all)))
	}
	if d.file != "" {
		args = append(args, "--config", d.file)
	}
	return append(args, more...)
}

func (d *dev) run(cmd *cobra.Command, more []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if d.dataDir == "" {
		if d.dataDir, err = os.MkdirTemp("", "dunlin-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(d.dataDir)
	}
	nodes, err := d.layout()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.free(); err != nil {
			return err
		}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	out := newPrefixer(cmd.OutOrStdout(), nodes)
	kids := newFamily()
	defer kids.kill()
	for _, n := range nodes {
		if err := kids.start(n.name, self, d.args(n, nodes, more), out.writer(n.name)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- waitReady(ctx, nodes, out) }()

	up := false
	for {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
			up = true
			out.say(d.hello(nodes))
		case end := <-kids.ended:
			if !up {
				return fmt.Errorf("node %s ended before the cluster was ready: %w", end.name, end.err)
			}
			out.say(fmt.Sprintf("node %s ended: %v; the others go on\n", end.name, end.err))
			if kids.left() == 0 {
				return errors.New("no node is left")
			}
		case <-signals:
			cancel()
			out.say("stopping; ctrl-C again to stop at once\n")
			return kids.stop(signals, stopGrace)
		}
	}
}

// free says which of n's ports is taken.
func (n devNode) free() error {
	for _, p := range []struct{ what, addr string }{
		{"MQTT", n.mqtt}, {"WebSocket", n.ws}, {"HTTP", n.http}, {"gossip", n.gossip}, {"cluster", n.cluster},
	} {
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			return fmt.Errorf("%s of node %s: %w; --base-port-offset moves all ports", p.what, n.name, err)
		}
		l.Close()
	}
	return nil
}

// waitReady waits until every node says that it is ready, and tells now and
// then which one does not and why.
func waitReady(ctx context.Context, nodes []devNode, out *prefixer) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	began, told := time.Now(), time.Now()
	for _, n := range nodes {
		for {
			why := askReady(ctx, client, n)
			if why == nil {
				break
			}
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				out.say(fmt.Sprintf("after %v node %s is not ready: %v\n", time.Since(began).Round(time.Second), n.name, why))
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func askReady(ctx context.Context, client *http.Client, n devNode) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/health/ready", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return err
}

// hello tells what runs and what to try.
func (d *dev) hello(nodes []devNode) string {
	var b strings.Builder
	plural := "s are"
	if len(nodes) == 1 {
		plural = " is"
	}
	fmt.Fprintf(&b, "\n%d node%s ready:\n\n", len(nodes), plural)
	for _, n := range nodes {
		fmt.Fprintf(&b, "  %-4s MQTT %-16s WebSocket ws://%s/mqtt  HTTP http://%s/\n", n.name, n.mqtt, n.ws, n.http)
	}
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	first, last := nodes[0], nodes[len(nodes)-1]
	fmt.Fprintf(&b, `
Try, in other terminals:

  bin/dunlin sub -p %s -t 'a/#' -v
  bin/dunlin pub -p %s -t a/b -m hello

  bin/dunlin cluster status --http %s
  bin/dunlin clients ls --http %s

In a page of this machine's, or in Node, with MQTT.js:

  mqtt.connect('ws://%s/mqtt').on('message', console.log).subscribe('a/#')

mosquitto_sub and mosquitto_pub take the same flags. Ctrl-C stops all nodes.

`, port(last.mqtt), port(first.mqtt), first.http, last.http, last.ws)
	return b.String()
}
