package balancer

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var (
	clients = flag.Int("balancer.clients", 300, "clients that come through the load balancer")
	rate    = flag.Int("balancer.rate", 50, "clients that are asked to go in a second")
	judge   = flag.Bool("balancer.judge", false, "judge latency and each second's reconnects: on a quiet machine")
)

func TestMain(m *testing.M) { harness.Main(m) }

// notice is for HAProxy to see that the node is not ready: two checks, a second apart, and some.
const notice = 4 * time.Second

func TestDrainBehindHAProxy(t *testing.T) {
	program := harness.Tool(t, "haproxy", "haproxy")
	addr := harness.Address(t)
	c := harness.Start(t, harness.Options{
		Nodes: 3, Args: []string{"--server-reference", addr},
		Config: "proxy-protocol: {mqtt: [127.0.0.0/8]}\n",
	})
	c.NeedReplicas()
	harness.Program(t, addr, exec.Command(program, "-db", "-f", configuration(t, addr, c)))
	f := newFleet(t, addr)
	f.spread(c)

	stop := f.publish()
	quiet := time.Now()
	f.rounds(t) // nothing happens, which is what latency is compared with

	victim, others := c.Nodes[1], []*harness.Node{c.Nodes[0], c.Nodes[2]}
	moving := int(victim.Metrics()["dunlin_clients"])
	if moving == 0 {
		t.Fatal("HAProxy has sent nobody to the node that is to be drained")
	}
	began := time.Now()
	code, out, errs := harness.Dunlin(t, "cluster", "drain", victim.Name, "--data-dir", others[0].Dir,
		"--rate", fmt.Sprint(*rate), "--notice", notice.String(), "--timeout", "5m")
	if code != 0 {
		t.Fatalf("drain: exit code %d, %s%s", code, out, errs)
	}
	drained := time.Now()
	f.up()
	victim.Kill()
	f.rounds(t)
	f.up()
	over := time.Now()
	stop()
	f.nothingLost()

	back := f.back(addr)
	if len(back) != moving {
		t.Errorf("%d clients came back, %d had to", len(back), moving)
	}
	span := back[len(back)-1].Sub(back[0]).Seconds()
	if most := float64(*rate)*1.1*span + 1; float64(len(back)) > most+float64(*rate)/10 {
		t.Errorf("%d clients came back within %.1f s, at %d a second", len(back), span, *rate)
	}
	busiest, from := 0, 0
	for to := range back {
		for back[to].Sub(back[from]) >= time.Second {
			from++
		}
		busiest = max(busiest, to-from+1)
	}
	before, during := f.p99(quiet, began), f.p99(began, over)
	t.Logf("%d clients, %d of them moved in %.1f s at %d/s, at most %d in a second, the drain took %.1f s in all; p99 of the others' pings: quiet %v, then %v; %d attempts were refused",
		*clients, moving, span, *rate, busiest, drained.Sub(began).Seconds(), before, during, f.refused())
	if *judge {
		if busiest > *rate+*rate/10 {
			t.Errorf("%d clients came back in one second, at %d a second", busiest, *rate)
		}
		if during > 2*before {
			t.Errorf("p99 of clients that nobody touched was %v in quiet, and %v", before, during)
		}
	}
}

// configuration is docs/haproxy.cfg for these nodes.
func configuration(t *testing.T, addr string, c *harness.Cluster) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for old, replacement := range map[string]string{
		"bind :1883": "bind " + addr, "192.0.2.11:1883": c.Nodes[0].MQTT, "192.0.2.12:1883": c.Nodes[1].MQTT, "192.0.2.13:1883": c.Nodes[2].MQTT,
		"maxconn 50000": "maxconn 9000", // of the descriptors that a process may have here
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("docs/haproxy.cfg has no %q", old)
		}
		text = strings.ReplaceAll(text, old, replacement)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fleet is all clients: half of them of 5.0 and half of 3.1.1, all persistent. Some measure
// how long an answer takes.
type fleet struct {
	t       *testing.T
	devices []*harness.Device
	pub     *harness.Device
	acked   [][]string   // by client
	sent    atomic.Int64 // messages
}

// pinging is how many of the clients send PINGREQ, each ten times a second.
const pinging = 60

func newFleet(t *testing.T, addr string) *fleet {
	t.Helper()
	f := &fleet{t: t, acked: make([][]string, *clients)}
	here := func() string { return addr }
	const atOnce = 100 // HAProxy has a backlog, and sessions cost a commit
	for i := range *clients {
		o := harness.DeviceOptions{Filter: fmt.Sprint("to/", i), Addr: here}
		o.Connect = mqtt.Connect{Version: mqtt.V5, ClientID: fmt.Append(nil, "d", i), SessionExpiry: 3600}
		if i%2 == 1 {
			o.Connect.Version = mqtt.V311
		}
		if i%max(*clients/pinging, 1) == 0 {
			o.Ping = 100 * time.Millisecond
		}
		f.devices = append(f.devices, harness.NewDevice(t, o))
		if i >= atOnce {
			harness.Eventually(t, "a client connects", f.devices[i-atOnce].Up)
		}
	}
	f.pub = harness.NewDevice(t, harness.DeviceOptions{
		Connect: mqtt.Connect{ClientID: []byte("pub"), SessionExpiry: 3600}, Addr: here,
	})
	f.up()
	return f
}

// up waits until all are connected.
func (f *fleet) up() {
	f.t.Helper()
	for _, d := range append([]*harness.Device{f.pub}, f.devices...) {
		harness.Within(f.t, time.Minute, "all clients are connected", d.Up)
	}
}

// spread checks that the balancer has sent clients to all nodes, and that they are known by
// their own addresses.
func (f *fleet) spread(c *harness.Cluster) {
	f.t.Helper()
	for _, n := range c.Nodes {
		harness.Eventually(f.t, n.Name+" has its part", func() error {
			if got := int(n.Metrics()["dunlin_clients"]); got < *clients/6 {
				return fmt.Errorf("it has %d", got)
			}
			return nil
		})
	}
	host, _, err := net.SplitHostPort(c.Nodes[0].MQTT)
	if err != nil {
		f.t.Fatal(err)
	}
	if page := c.Nodes[0].API("GET", "/api/v1/clients?limit=1"); strings.Contains(page, `"remote": "`+host) || !strings.Contains(page, `"remote": "127.`) {
		f.t.Errorf("clients are known by %s", page)
	}
}

// rounds waits until so many messages went to clients as one small fleet has, and long enough
// for a percentile where latency is judged.
func (f *fleet) rounds(t *testing.T) {
	t.Helper()
	want, until := f.sent.Load()+int64(min(*clients, 300)), time.Now()
	if *judge {
		until = until.Add(15 * time.Second)
	}
	harness.Within(t, 2*time.Minute, "messages flow", func() error {
		if sent := f.sent.Load(); sent < want || time.Now().Before(until) {
			return fmt.Errorf("%d of %d, or it is too soon", sent, want)
		}
		return nil
	})
}

// publish sends each client a message in turn until what it returns is called.
func (f *fleet) publish() (stop func()) {
	var halt atomic.Bool
	done := make(chan struct{})
	pace := time.NewTicker(time.Millisecond)
	go func() {
		defer close(done)
		defer pace.Stop()
		for i := 0; !halt.Load(); i++ {
			payload := fmt.Sprint(i)
			if f.pub.Publish(fmt.Sprint("to/", i%*clients), payload) {
				f.acked[i%*clients] = append(f.acked[i%*clients], payload)
			}
			f.sent.Add(1)
			<-pace.C
		}
	}()
	return sync.OnceFunc(func() {
		halt.Store(true)
		<-done
	})
}

// nothingLost checks that what was acknowledged has come.
func (f *fleet) nothingLost() {
	f.t.Helper()
	all := 0
	for i, d := range f.devices {
		all += len(f.acked[i])
		harness.Eventually(f.t, "all that was acknowledged has come", func() error {
			got := d.Got()
			for _, payload := range f.acked[i] {
				if !slices.Contains(got, payload) {
					return fmt.Errorf("client %d lacks %s", i, payload)
				}
			}
			return nil
		})
	}
	if all == 0 {
		f.t.Error("nothing was published")
	}
}

// back is when each client that moved came back, in order, and checks how.
func (f *fleet) back(addr string) (all []time.Time) {
	f.t.Helper()
	for i, d := range append([]*harness.Device{f.pub}, f.devices...) {
		visits := d.Visits()
		switch v := visits[0]; {
		case len(visits) > 2:
			f.t.Errorf("client %d connected %d times", i, len(visits))
		case len(visits) == 1:
			continue
		case !visits[1].Present:
			f.t.Errorf("client %d: no session present", i)
		case v.Told && (v.Reason != mqtt.UseAnotherServer || v.Reference != addr):
			f.t.Errorf("client %d was told %+v", i, v)
		}
		all = append(all, visits[1].Began)
	}
	if len(all) == 0 {
		f.t.Fatal(errors.New("nobody had to move"))
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// p99 is that of the pings, in a span of time, of clients that were connected all along.
func (f *fleet) p99(from, to time.Time) time.Duration {
	var took []time.Duration
	for _, d := range f.devices {
		if len(d.Visits()) > 1 {
			continue
		}
		for _, p := range d.Pings() {
			if p.At.After(from) && p.At.Before(to) {
				took = append(took, p.Took)
			}
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// refused is how often clients were not let in on their way.
func (f *fleet) refused() (n int) {
	for _, d := range f.devices {
		for _, times := range d.Refused() {
			n += times
		}
	}
	return n
}
