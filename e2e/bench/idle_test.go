package bench

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// What an idle connection may cost, in bytes: resident in a cluster of one; and on a
// node of several, for a connection that another node has, of its heap.
var (
	idleTarget    = limits{must: 1000, goal: 512}
	tlsTarget     = limits{must: 8000, goal: 5500}
	routeTarget   = limits{must: 24, goal: 24}
	replicaTarget = limits{must: 150, goal: 150}
)

type limits struct{ must, goal float64 }

func (l limits) verdict(v float64) string {
	switch {
	case v <= l.goal:
		return "goal"
	case v <= l.must:
		return "must"
	}
	return "MISSED"
}

// BenchmarkIdle holds connections that do nothing, plain and over TLS 1.3, each with a
// client identifier and a subscription of its own, and prints what each costs: the
// difference between few and many. What connecting them left behind is collected on the way.
func BenchmarkIdle(b *testing.B) {
	few, many := 2000, 17_000
	if *quick {
		few, many = 200, 1200
	}
	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "bytes per idle connection\tmosquitto\tdunlin\tmust\tgoal\treached\t")
	theirs := "-"
	if path, ok := harness.FindTool("mosquitto"); ok {
		s := mosquitto(b, path)
		var held idle
		held.grow(b, s.subscribe, few, func() {})
		base := resident(b, s.pids[0])
		held.grow(b, s.subscribe, many, func() {})
		theirs = fmt.Sprintf("%.0f", (resident(b, s.pids[0])-base)/float64(many-few))
		held.close()
	}
	row := func(name, theirs string, v float64, l limits) {
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%.0f\t%.0f\t%s\t\n", name, theirs, v, l.must, l.goal, l.verdict(v))
	}

	alone := harness.Start(b, harness.Options{}).Nodes[0]
	secure := harness.Start(b, harness.Options{TLS: true, Config: certificate(b)}).Nodes[0]
	collect := func() { alone.Held() }
	warmUp(b, alone)
	warmUp(b, secure)
	var held idle
	held.grow(b, alone.MQTT, few, collect)
	closeFew := growTLS(b, secure, 0, few)
	calm()
	heapBase, base := alone.Held().Heap, resident(b, alone.Pid())
	tlsHeapBase, tlsBase := secure.Held().Heap, resident(b, secure.Pid())
	held.grow(b, alone.MQTT, many, collect)
	closeMany := growTLS(b, secure, few, many)
	calm()
	heapFull, full := alone.Held().Heap, resident(b, alone.Pid())
	tlsHeapFull, tlsFull := secure.Held().Heap, resident(b, secure.Pid())
	held.close()
	closeFew()
	closeMany()
	heapRow := func(base, full uint64) {
		fmt.Fprintf(table, "its heap, one node\t-\t%.0f\t-\t-\t-\t\n", float64(full-base)/float64(many-few))
	}
	row("resident, one node", theirs, (full-base)/float64(many-few), idleTarget)
	heapRow(heapBase, heapFull)
	row("resident, one node, over TLS 1.3", "-", (tlsFull-tlsBase)/float64(many-few), tlsTarget)
	heapRow(tlsHeapBase, tlsHeapFull)

	c := harness.Start(b, harness.Options{Nodes: 3})
	c.NeedReplicas()
	far := c.Nodes[2]
	fillLogs(b, c.Nodes[0], far)
	held = idle{bare: true}
	held.grow(b, c.Nodes[0].MQTT, few, func() {})
	base = float64(far.Held().Heap)
	held.grow(b, c.Nodes[0].MQTT, many, func() { far.Held() })
	claims := float64(far.Held().Heap)
	var routes [2]float64 // the heap with half of them, and with all
	for half := range routes {
		held.route(b, half*routesEach/2, (half+1)*routesEach/2)
		calm()
		routes[half] = float64(far.Held().Heap)
	}
	held.close()
	row("replica of a claim, on another node", "-", (claims-base)/float64(many-few), replicaTarget)
	row("route of a subscription, on another node", "-", (routes[1]-routes[0])/float64(many*routesEach/2), routeTarget)
	table.Flush()
	fmt.Fprintf(os.Stdout, "\n%s\n", out.String())
}

// certificate makes one that vouches for itself, and is the configuration that names it.
func certificate(b *testing.B) (config string) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	c := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "node.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("tls:\n  cert: %s\n  key: %[1]s\n", file)
}

// growTLS has a load tester, whose memory is its own, hold the connections from one number
// to before another over TLS, until they are to close.
func growTLS(b *testing.B, n *harness.Node, from, to int) (closed func()) {
	b.Helper()
	cmd := exec.Command(harness.Binary(b), "bench", "conn", "--ssl", "--insecure", "--quiet", "--host", n.MQTTS,
		"--count", strconv.Itoa(to-from), "--startnumber", strconv.Itoa(from), "--connrate", "0", "--pending", "32",
		"--prefix", "idle-", "--subscribe", "idle/%i/down", "--qos", "0", "--version", "4", "--keepalive", "0",
		"--ifaddr", "127.0.9.1-127.0.9.2", "--duration", "1h", "--patience", "1m")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() {
		exited <- cmd.Wait()
		close(exited)
	}()
	closed = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-exited
	})
	b.Cleanup(closed)
	for int(n.Metrics()["dunlin_subscriptions"]) < to {
		select {
		case err := <-exited:
			b.Fatalf("%v: %v: %s", cmd, err, complaint.String())
		case <-time.After(time.Second):
			n.Held() // collects
		}
	}
	return closed
}

// warmUp has buffers of a node grow, so that they are not counted with connections.
func warmUp(b *testing.B, n *harness.Node) {
	run(b, "subscribes", server{publish: n.MQTT, subscribe: n.MQTT, pids: []int{n.Pid()}}, 5*time.Second)
}

// fillLogs has claims come and go at n until the logs of the shards at far have in memory
// what they ever keep, 1 MB of the latest entries each, as claims make them: else that
// would be counted with what is measured. Thousands of identifiers meet the shards about
// alike; it takes twice as much all the same.
func fillLogs(b *testing.B, n, far *harness.Node) {
	full := 2 * 17 * float64(1<<20)
	if *quick {
		full = 0
	}
	for {
		run(b, "connects-many", server{publish: n.MQTT, subscribe: n.MQTT, pids: []int{n.Pid()}}, 5*time.Second)
		if far.Metrics()["dunlin_raft_log_written_bytes_total"] >= full {
			return
		}
	}
}

// calm waits until nodes have forgotten what they remember of new connections and
// subscriptions: for a minute, and some seconds more.
func calm() {
	if !*quick {
		time.Sleep(80 * time.Second)
	}
}

// idle are connections that do nothing.
type idle struct {
	bare  bool // without a subscription yet
	at    int  // how many do something at a time; 0: 32
	conns []net.Conn
}

// perAddress is how many connections come from one loopback address: beyond it the
// kernel's search for a port costs ten times as much.
const perAddress = 13_000

// grow connects more until there are n; after each thousand it calls between.
func (i *idle) grow(b *testing.B, addr string, n int, between func()) {
	b.Helper()
	for len(i.conns) < n {
		from := len(i.conns)
		i.connect(b, addr, min(1000, n-from))
		if !i.bare {
			i.subscribe(b, from)
		}
		if b.Failed() {
			b.FailNow()
		}
		between()
	}
}

// connect connects so many more.
func (i *idle) connect(b *testing.B, addr string, more int) {
	b.Helper()
	from := len(i.conns)
	i.conns = append(i.conns, make([]net.Conn, more)...)
	i.each(b, from, func(k int) error {
		dialer := net.Dialer{Timeout: time.Minute, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 9, byte(1+k/perAddress))}}
		conn, err := dialer.Dial("tcp", addr)
		if err != nil {
			return err
		}
		i.conns[k] = conn
		connect := mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: fmt.Appendf(nil, "idle-%06d", k)}
		return exchange(conn, connect.Append(nil, mqtt.V311), []byte{0x20, 2, 0, 0})
	})
}

// subscribe has all from one on subscribe.
func (i *idle) subscribe(b *testing.B, from int) {
	b.Helper()
	i.each(b, from, func(k int) error {
		s := mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: fmt.Appendf(nil, "idle/%06d/down", k)}}}
		return exchange(i.conns[k], s.Append(nil, mqtt.V311), []byte{0x90, 3, 0, 1, 0})
	})
}

// routesEach is how many routes each connection is made to have: so many that what else
// a node's heap has more of, or less, from one minute to the next is no part of a route.
const routesEach = 20

// route has all subscribe to those of their filters from one on, before another.
func (i *idle) route(b *testing.B, from, to int) {
	b.Helper()
	i.each(b, 0, func(k int) error {
		s := mqtt.Subscribe{PacketID: 1}
		answer := []byte{0x90, byte(2 + to - from), 0, 1}
		for r := from; r < to; r++ {
			s.Filters = append(s.Filters, mqtt.Subscription{Filter: fmt.Appendf(nil, "idle/%06d/down/%d", k, r)})
			answer = append(answer, 0)
		}
		return exchange(i.conns[k], s.Append(nil, mqtt.V311), answer)
	})
}

// each has f done for the connections from one on, some at a time.
func (i *idle) each(b *testing.B, from int, f func(k int) error) {
	b.Helper()
	at := cmp.Or(i.at, 32)
	var work sync.WaitGroup
	for w := range at {
		work.Go(func() {
			for k := from + w; k < len(i.conns); k += at {
				if err := f(k); err != nil {
					b.Errorf("connection %d: %v", k, err)
					return
				}
			}
		})
	}
	work.Wait()
}

func (i *idle) close() {
	for _, conn := range i.conns {
		if conn, ok := conn.(*net.TCPConn); ok {
			_ = conn.SetLinger(0)
			conn.Close()
		}
	}
	i.conns = nil
}

// exchange sends a packet and wants this answer.
func exchange(conn net.Conn, packet, want []byte) error {
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := conn.Write(packet); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("% x instead of % x", got, want)
	}
	return nil
}

// resident is the memory of a process, in bytes.
func resident(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages * os.Getpagesize())
}
