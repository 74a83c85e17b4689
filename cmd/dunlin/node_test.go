package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/node"
	"dunlin/node/admin"
	"dunlin/node/config"
)

// testNode runs a node in this process, on a loopback address of its own, and
// returns its configuration once it is ready.
func testNode(t *testing.T) config.Config {
	t.Helper()
	return testNodes(t, 1, func(c *config.Config) { c.ACL.DenyFilters = []string{"denied/#"} })[0]
}

// testNodes runs a cluster of so many nodes likewise.
func testNodes(t *testing.T, n int, change func(*config.Config)) (cs []config.Config) {
	t.Helper()
	var join []string
	for i := range n {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(256), 1+rand.IntN(250))
		c := config.Default()
		c.NodeName, c.DataDir = fmt.Sprintf("n%d", i+1), t.TempDir()
		c.MQTTAddr, c.WSAddr, c.HTTPAddr = host+":1883", host+":8083", host+":18083"
		c.GossipAddr, c.ClusterAddr = host+":7946", host+":7947"
		join = append(join, c.GossipAddr)
		change(&c)
		cs = append(cs, c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, n)
	var ready []devNode
	for i := range cs {
		if n > 1 {
			cs[i].Join, cs[i].BootstrapExpect = join, n
		}
		one, err := node.New(cs[i], slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- one.Run(ctx) }()
		ready = append(ready, devNode{name: cs[i].NodeName, http: cs[i].HTTPAddr})
	}
	t.Cleanup(func() {
		cancel()
		for range n {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	if err := waitReady(t.Context(), ready, newPrefixer(io.Discard, nil)); err != nil {
		t.Fatal(err)
	}
	return cs
}

func mqttFlags(c config.Config, more ...string) []string {
	return append([]string{"-h", strings.TrimSuffix(c.MQTTAddr, ":1883")}, more...)
}

// lines is what a subscriber prints, for a test to wait on.
type lines struct {
	read *os.File
	code chan int
}

// subscribe runs dunlin sub in the background and returns once it has subscribed.
func subscribe(t *testing.T, c config.Config, more ...string) *lines {
	t.Helper()
	outRead, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	errRead, errs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &lines{read: outRead, code: make(chan int, 1)}
	go func() {
		code := run(append(append([]string{"sub", "--print-ready", "-W", "30s"}, more...), mqttFlags(c)...), nil, out, errs)
		out.Close()
		errs.Close()
		l.code <- code
	}()
	ready := make([]byte, len("subscribed\n"))
	if _, err := io.ReadFull(errRead, ready); err != nil || string(ready) != "subscribed\n" {
		rest, _ := io.ReadAll(errRead)
		t.Fatalf("%v: %s%s", err, ready, rest)
	}
	go io.Copy(io.Discard, errRead)
	return l
}

// wait returns exit code and output.
func (l *lines) wait(t *testing.T) (int, string) {
	t.Helper()
	b, err := io.ReadAll(l.read)
	if err != nil {
		t.Fatal(err)
	}
	return <-l.code, string(b)
}

func TestPublishAndSubscribeOverWebSocket(t *testing.T) {
	c := testNode(t)
	l := subscribe(t, c, "--ws", "-q", "2", "-t", "ws", "-C", "2")
	big := strings.Repeat("x", 100_000)
	if code, _, stderr := dunlin(t, big+"\nlast", mqttFlags(c, "pub", "--ws=/mqtt", "-q", "2", "-t", "ws", "-l")...); code != 0 {
		t.Fatal(stderr)
	}
	if code, out := l.wait(t); code != 0 || out != big+"\nlast\n" {
		t.Errorf("exit code %d, %.20q, %d bytes", code, out, len(out))
	}
	code, _, stderr := dunlin(t, "", mqttFlags(c, "pub", "--ws=/elsewhere", "-t", "ws", "-m", "x")...)
	if code != 1 || !strings.Contains(stderr, "404 Not Found") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestPublishAndSubscribe(t *testing.T) {
	c := testNode(t)
	for _, version := range []string{"5", "311", "31"} {
		for _, qos := range []string{"0", "1", "2"} {
			name := version + "-" + qos
			t.Run(name, func(t *testing.T) {
				l := subscribe(t, c, "-V", version, "-q", qos, "-t", name+"/#", "-v", "-C", "5")
				pub := mqttFlags(c, "pub", "-V", version, "-q", qos, "-t", name+"/x")
				if code, _, stderr := dunlin(t, "1\n2\n3", append(pub, "-l")...); code != 0 {
					t.Fatal(stderr)
				}
				if code, _, stderr := dunlin(t, "four", append(pub, "-s")...); code != 0 {
					t.Fatal(stderr)
				}
				if code, _, stderr := dunlin(t, "", append(pub, "-n")...); code != 0 {
					t.Fatal(stderr)
				}
				p := name + "/x "
				want := p + "1\n" + p + "2\n" + p + "3\n" + p + "four\n" + p + "\n"
				code, out := l.wait(t)
				if qos == "0" {
					// Nobody waited for an answer, and there is no order between
					// publishers: theirs may pass one another.
					out, want = sorted(out), sorted(want)
				}
				if code != 0 || out != want {
					t.Errorf("exit code %d, %q", code, out)
				}
			})
		}
	}
}

func sorted(lines string) string {
	return strings.Join(slices.Sorted(strings.Lines(lines)), "")
}

func TestSubscribeDenied(t *testing.T) {
	c := testNode(t)
	for _, version := range []string{"5", "311"} {
		code, _, stderr := dunlin(t, "", mqttFlags(c, "sub", "-V", version, "-t", "denied/#")...)
		if code != 1 || !strings.Contains(stderr, `the server refuses "denied/#"`) {
			t.Errorf("%d %s", code, stderr)
		}
	}
}

func TestSubscribeTimesOut(t *testing.T) {
	c := testNode(t)
	if code, _, stderr := dunlin(t, "", mqttFlags(c, "sub", "-t", "t", "-W", "10ms")...); code != 0 {
		t.Errorf("-W alone is a wanted end: %d %s", code, stderr)
	}
	if code, _, stderr := dunlin(t, "", mqttFlags(c, "sub", "-t", "t", "-W", "10ms", "-C", "1")...); code != 1 {
		t.Errorf("-W before -C is none: %d %s", code, stderr)
	}
}

func TestClientsAndCluster(t *testing.T) {
	c := testNode(t)
	l := subscribe(t, c, "-t", "t", "-i", "../desk 1", "-u", "me")
	for name, way := range map[string][]string{
		"socket": {"--data-dir", c.DataDir},
		"http":   {"--http", c.HTTPAddr},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func(args ...string) string {
				t.Helper()
				code, stdout, stderr := dunlin(t, "", append(args, way...)...)
				if code != 0 {
					t.Fatal(stderr)
				}
				return stdout
			}
			var all []admin.Client
			if err := json.Unmarshal([]byte(ask("clients", "ls", "-o", "json")), &all); err != nil || len(all) != 1 {
				t.Fatal(err, all)
			}
			if x := all[0]; x.ClientID != "../desk 1" || x.Version != "5.0" || x.Subscriptions != 1 || x.KeepAlive != 60 ||
				x.Node != c.NodeName || time.Since(x.Connected).Abs() > time.Hour {
				t.Errorf("%+v", x)
			}
			if out := ask("clients", "show", "../desk 1"); !strings.Contains(out, "subscriptions  1\n") {
				t.Error(out)
			}
			if out := ask("cluster", "verify"); out != "" {
				t.Error(out)
			}
			var none admin.Verification
			if err := json.Unmarshal([]byte(ask("cluster", "verify", "-o", "json")), &none); err != nil || len(none.Findings) != 0 {
				t.Error(err, none)
			}
			if out := ask("cluster", "status"); !strings.Contains(out, c.NodeName+" (asked)") {
				t.Error(out)
			}
		})
	}
	if code, _, stderr := dunlin(t, "", "clients", "kick", "nobody", "--data-dir", c.DataDir); code != 1 || !strings.Contains(stderr, "no such client") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, out, stderr := dunlin(t, "", "clients", "kick", "../desk 1", "--data-dir", c.DataDir); code != 0 || out != "kicked \"../desk 1\"\n" {
		t.Errorf("%d %s %s", code, out, stderr)
	}
	if code, out := l.wait(t); code != 1 || out != "" {
		t.Errorf("kicked: %d %q", code, out)
	}
}

// A second node in the data directory, or at the address, stops with one line.
// An address at which something else than a node's HTTP listens is named, with what is
// meant.
func TestWrongHTTPAddress(t *testing.T) {
	c := testNode(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for _, at := range []struct{ addr, want string }{
		{c.MQTTAddr, "does not answer in HTTP"},
		{c.ClusterAddr, "does not answer in HTTP"},
		{strings.TrimPrefix(other.URL, "http://"), "not as a Dunlin node does"},
	} {
		code, _, stderr := dunlin(t, "", "cluster", "status", "--http", at.addr)
		if code != 1 || !strings.Contains(stderr, at.want) || !strings.Contains(stderr, at.addr) ||
			!strings.Contains(stderr, "by default 127.0.0.1:18083") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d, %q", at.addr, code, stderr)
		}
	}
	code, _, stderr := dunlin(t, "", "cluster", "status", "--http", "127.0.0.1:1")
	if code != 1 || !strings.Contains(stderr, "refused") || strings.Contains(stderr, "in HTTP") {
		t.Errorf("nobody listens: %d, %q", code, stderr)
	}
}

func TestServeRefusesWhatIsTaken(t *testing.T) {
	c := testNode(t)
	for name, args := range map[string][]string{
		"data directory": {"--data-dir", c.DataDir, "--mqtt-addr", "127.0.0.1:0", "--http-addr", ""},
		"address":        {"--data-dir", filepath.Join(t.TempDir(), "d"), "--mqtt-addr", c.MQTTAddr, "--http-addr", ""},
	} {
		code, _, stderr := dunlin(t, "", append([]string{
			"serve", "--gossip-addr", "127.0.0.1:0", "--cluster-addr", "127.0.0.1:0", "--log-level", "error"}, args...)...)
		if code != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d %q", name, code, stderr)
		}
	}
}
