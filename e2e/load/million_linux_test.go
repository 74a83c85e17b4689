package load

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dunlin/e2e/harness"
)

var (
	connections = flag.Int("load.connections", 300, "connections to hold")
	nodes       = flag.Int("load.nodes", 0, "nodes of the cluster; 0: three, or as many as the limit on open files asks for")
	processes   = flag.Int("load.processes", 0, "processes of the load; 0: as many as the limit on open files asks for")
	rate        = flag.Int("load.rate", 0, "connects begun a second; 0: as many as load.pending allows")
	pending     = flag.Int("load.pending", 0, "connects under way at once; 0: 64 a node")
	patience    = flag.Duration("load.patience", time.Minute, "how long an answer may take")
	data        = flag.String("load.data", "", "directory for the nodes' data, which want a disk each: /dev/shm is none, but it is as fast as many; default: a temporary one")
	loops       = flag.Int("load.loops", 1, "event loops of a node")
)

// spare are the files of a node that are not clients' connections: its own, and
// three connections to each of the others.
const spare = 500

func TestMain(m *testing.M) { harness.Main(m) }

// result is what this test reads of dunlin bench's.
type result struct {
	Elapsed     time.Duration `json:"elapsed_ns"`
	Connections struct {
		Wanted     int           `json:"wanted"`
		Connected  int           `json:"connected"`
		Held       int           `json:"held"`
		Unanswered int           `json:"unanswered"`
		Lost       int           `json:"lost"`
		Elapsed    time.Duration `json:"elapsed_ns"`
	} `json:"connections"`
	Check struct {
		Complete   bool   `json:"complete"`
		Expected   uint64 `json:"expected"`
		Delivered  uint64 `json:"delivered"`
		Lost       uint64 `json:"lost"`
		Duplicates uint64 `json:"duplicates"`
	} `json:"check"`
	Layout struct {
		Processes int `json:"processes"`
	} `json:"layout"`
	Failures []struct {
		What    string `json:"what"`
		Why     string `json:"why"`
		Count   uint64 `json:"count"`
		Example string `json:"example"`
	} `json:"failures"`
}

// Connections with an identifier and a subscription each are held by a cluster, all
// of them at once: pinged, and every tenth reached by a message.
func TestMillion(t *testing.T) {
	if testing.Short() && *connections <= 300 {
		t.Skip("with -short")
	}
	count := clusterSize(t)
	if *data != "" {
		t.Setenv("TMPDIR", *data)
	}
	began := time.Now()
	before := machine(t)
	step := func(format string, args ...any) {
		if *connections > 300 {
			fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		}
	}
	c := start(t, count, step)
	base, brokers := machine(t), usage(t, pids(c)...)
	step("%d nodes are ready: %v of processor time, %s", count, brokers.cpu, size(brokers.memory))

	all, died := make(chan struct{}), make(chan struct{})
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		gone := 0
		for {
			select {
			case <-tick.C:
			case <-all:
				return
			}
			m, u := machine(t), usage(t, pids(c)...)
			step("%d connections; nodes: %v, %s; machine: %s in use, of it the kernel's %s; waits: %s",
				u.files-brokers.files, (u.cpu - brokers.cpu).Round(time.Second), size(u.memory), size(m.used), size(m.kernel), pressures())
			if n := ended(c); n > gone {
				step("%d nodes have ended", n)
				if gone == 0 {
					close(died) // what comes now is not worth the time
				}
				gone = n
			}
		}
	}()
	r, after := bench(t, c, died)
	close(all)
	<-reported

	u := usage(t, pids(c)...)
	summary := fmt.Sprintf("%d of %d connections held on %d nodes by %d processes: connected in %v, all done in %v\n"+
		"messages: %d of %d received\n"+
		"nodes: %v of processor time since they were ready (%.0f us a connection), %s (%.0f bytes a connection above what they had)\n"+
		"kernel: %s more than before (%.0f bytes a connection); machine: %s in use at most seen",
		r.Connections.Held, *connections, count, r.Layout.Processes, r.Connections.Elapsed.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond),
		r.Check.Delivered, r.Check.Expected,
		(u.cpu - brokers.cpu).Round(10*time.Millisecond), each((u.cpu-brokers.cpu).Seconds()*1e6), size(u.memory), each(float64(u.memory-brokers.memory)),
		size(after.kernel-before.kernel), each(float64(after.kernel-base.kernel)), size(after.used))
	t.Log(summary)
	step("%s", summary)
	for _, f := range r.Failures {
		t.Errorf("%d times %s: %s (%s)", f.Count, f.What, f.Why, f.Example)
	}
	if got := r.Connections; got.Held != *connections || got.Lost > 0 {
		t.Errorf("connected %d, held %d, lost %d of %d", got.Connected, got.Held, got.Lost, *connections)
	}
	if want := uint64(*connections / 10); !r.Check.Complete || r.Check.Expected != want || r.Check.Delivered != want || r.Check.Duplicates > 0 {
		t.Errorf("messages: %+v, want %d", r.Check, want)
	}
	if count > 3 {
		// One after the other they would hand over what they lead, and stop for minutes.
		for _, n := range c.Nodes {
			for name, v := range n.Metrics() {
				if strings.Contains(name, "panic") && v > 0 {
					t.Errorf("%s: %s is %v", n.Name, name, v)
				}
			}
		}
		for _, n := range c.Nodes {
			n.Kill()
		}
	}
}

// each is an amount for each of the connections.
func each(amount float64) float64 { return amount / float64(*connections) }

// clusterSize is how many nodes hold the connections.
func clusterSize(t *testing.T) int {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	room := int(min(l.Max, 1<<30)) - spare
	least := (*connections + room - 1) / room
	if *nodes == 0 {
		return max(least, 3)
	}
	if *nodes < least {
		t.Fatalf("-load.nodes %d: a process may open %d files, so that %d connections take %d nodes", *nodes, l.Max, *connections, least)
	}
	return *nodes
}

// start forms a cluster of three, which the other nodes join one after another:
// nobody starts that many at the same moment on one machine.
func start(t *testing.T, count int, step func(string, ...any)) *harness.Cluster {
	t.Helper()
	o := harness.Options{Nodes: min(count, 3), Args: []string{"--loops", strconv.Itoa(*loops)}}
	if nice, err := exec.LookPath("nice"); err == nil && count > 3 {
		// Whoever may, lets nodes go before the load: with 25 of them on a core a lease or
		// a leader's heartbeat must not wait for clients that want to connect.
		o.Place = func(i int) harness.Place {
			return harness.Place{Host: harness.Host(t), Within: []string{nice, "-n", "-5"}}
		}
	}
	c := harness.Lay(t, o)
	if count > len(c.Nodes) {
		c.Grow(count - len(c.Nodes))
	}
	for i, n := range c.Nodes {
		if count > 3 {
			n.Env = append(n.Env, "GOGC=100") // not 64 MB of garbage for each of the nodes
		}
		n.Start()
		switch {
		case i == 2:
			ready(t, c, i+1, 0)
		case i > 2:
			ready(t, c, i+1, 4)
		}
		if i%10 == 9 {
			step("%d nodes are started", i+1)
		}
	}
	ready(t, c, count, 0)
	return c
}

// ready waits until all but so many of the first nodes are ready.
func ready(t *testing.T, c *harness.Cluster, count, but int) {
	t.Helper()
	harness.Within(t, 3*time.Minute, fmt.Sprintf("all but %d of %d nodes are ready", but, count), func() error {
		missing := 0
		var last error
		for _, n := range c.Nodes[:count] {
			if err := n.Ready(); err != nil {
				missing, last = missing+1, fmt.Errorf("%s: %w", n.Name, err)
			}
		}
		if missing <= but {
			return nil
		}
		return last
	})
}

// bench has dunlin bench do it, and returns how much the machine had in use when all
// was done and everything still held. It is interrupted when stop is closed.
func bench(t *testing.T, c *harness.Cluster, stop <-chan struct{}) (r result, after state) {
	t.Helper()
	under := *pending
	if under == 0 {
		under = 64 * len(c.Nodes)
	}
	var brokers []string
	for _, n := range c.Nodes {
		brokers = append(brokers, n.MQTT)
	}
	args := []string{
		"bench", "conn", "--count", strconv.Itoa(*connections), "--connrate", strconv.Itoa(*rate), "--pending", strconv.Itoa(under),
		"--host", strings.Join(brokers, ","), "--processes", strconv.Itoa(*processes),
		"--ifaddr", sources(), "--patience", patience.String(),
		// Nobody pings before all are there. With 0 the kernel would ask after a million peers
		// at once, which its queue for a machine's packets to itself does not hold.
		"--keepalive", "7200",
		"--subscribe", "load/%i", "--publish-every", "10", "--size", "64", "--prefix", "million-", "--duration", "1s", "--output", "json", "--quiet",
	}
	done := make(chan struct{})
	most := make(chan state)
	go func() {
		var m state
		for {
			select {
			case <-done:
				most <- m
				return
			case <-time.After(500 * time.Millisecond):
				if now := machine(t); now.used > m.used {
					m = now
				}
			}
		}
	}()
	code, stdout, stderr := harness.DunlinUntil(t, stop, args...)
	close(done)
	after = <-most
	if code != 0 {
		t.Errorf("dunlin %s: exit code %d: %s", strings.Join(args, " "), code, cut(stderr))
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("dunlin bench: %v: %s", err, cut(stdout+stderr))
	}
	return r, after
}

func cut(s string) string { return s[:min(len(s), 4000)] }

// sources are the addresses that the connections come from: 10,000 from each.
func sources() string {
	n := (*connections + 9_999) / 10_000
	last := net.IPv4(127, 1, byte(n/250), byte(n%250+1))
	return "127.1.0.1-" + last.String()
}

// ended is how many of the nodes run no more.
func ended(c *harness.Cluster) (n int) {
	for _, node := range c.Nodes {
		if !node.Running() {
			n++
		}
	}
	return n
}

func pids(c *harness.Cluster) (all []int) {
	for _, n := range c.Nodes {
		all = append(all, n.Pid())
	}
	return all
}
