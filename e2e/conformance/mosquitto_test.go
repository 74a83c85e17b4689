package conformance

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// mosquittoVersions are the values of -V.
var mosquittoVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

// TestMosquittoClients has mosquitto_pub publish in every version and QoS on
// every node of three, to a mosquitto_sub of every version on every node.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	pub := harness.Tool(t, "mosquitto_pub", "mosquitto-clients")
	sub := harness.Tool(t, "mosquitto_sub", "mosquitto-clients")
	c := harness.Start(t, harness.Options{Nodes: 3})

	var subscribers []*lines
	for _, n := range c.Nodes {
		for _, v := range mosquittoVersions {
			subscribers = append(subscribers, run(t, v+" on "+n.Name,
				exec.Command(sub, append(at(n), "-V", v, "-q", "2", "-t", "matrix/#", "-t", "mark/+", "-F", "%t %q %p")...)))
		}
	}
	// A subscriber is there when it prints what comes to it.
	marker := harness.Connect(t, c.Nodes[0].MQTT, mqtt.Connect{ClientID: []byte("marker")})
	harness.Eventually(t, "all are subscribed", func() error {
		marker.Publish("mark/0", "here", 0)
		marker.ExpectQuiet()
		for _, s := range subscribers {
			if len(s.get()) == 0 {
				return fmt.Errorf("%s has printed nothing", s.name)
			}
		}
		return nil
	})

	var want []string
	var group sync.WaitGroup
	for _, n := range c.Nodes {
		for _, v := range mosquittoVersions {
			for q := range 3 {
				topic := fmt.Sprintf("matrix/%s/%s/%d", n.Name, v, q)
				payload := "from " + v
				want = append(want, fmt.Sprintf("%s %d %s", topic, q, payload))
				cmd := exec.Command(pub, append(at(n), "-V", v, "-q", fmt.Sprint(q), "-t", topic, "-m", payload)...)
				group.Go(func() {
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v: %v: %s", cmd, err, out)
					}
				})
			}
		}
		group.Wait()
	}
	slices.Sort(want)
	for _, s := range subscribers {
		var got []string
		harness.Eventually(t, s.name+" has printed all", func() error {
			got = slices.DeleteFunc(s.get(), func(l string) bool { return strings.HasPrefix(l, "mark/") })
			if len(got) < len(want) {
				return fmt.Errorf("%d of %d lines", len(got), len(want))
			}
			return nil
		})
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s printed\n%s\ninstead of\n%s", s.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// at are the arguments that lead a mosquitto client to n.
func at(n *harness.Node) []string {
	host, port, _ := net.SplitHostPort(n.MQTT)
	return []string{"-h", host, "-p", port}
}

// lines are what a program has printed so far.
type lines struct {
	name string
	mu   struct {
		sync.Mutex
		got []string
	}
}

func (l *lines) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.got)
}

// run starts cmd until the end of the test.
func run(t *testing.T, name string, cmd *exec.Cmd) *lines {
	t.Helper()
	l := &lines{name: name}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			l.mu.Lock()
			l.mu.got = append(l.mu.got, s.Text())
			l.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		reader.Wait()
		cmd.Wait()
	})
	return l
}
