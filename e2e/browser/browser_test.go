package browser

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// A task is what testdata/exchange.js does once.
type task struct {
	Name    string         `json:"name"`
	Sub     string         `json:"sub"` // URL of the subscriber's node
	Pub     string         `json:"pub"`
	QoS     int            `json:"qos"`
	Version int            `json:"version"`
	Options map[string]any `json:"options,omitempty"` // of MQTT.js
}

// results tell of each task by its name: nil, or why it failed.
type results map[string]*string

// tasks are an exchange over WS and over WSS in each version and QoS, between two nodes
// of c.
func tasks(c *harness.Cluster, cert certificate) (all []task) {
	for _, at := range []struct{ name, sub, pub string }{
		{"ws", "ws://" + c.Nodes[0].WS, "ws://" + c.Nodes[1].WS},
		{"wss", "wss://" + c.Nodes[0].WSS, "wss://" + c.Nodes[1].WSS},
	} {
		for _, version := range []int{4, 5} {
			for qos := range 3 {
				all = append(all, task{
					Name: fmt.Sprintf("%s-v%d-qos%d", at.name, version, qos), Version: version, QoS: qos,
					Sub: at.sub + "/mqtt", Pub: at.pub + "/mqtt",
					Options: map[string]any{"ca": cert.pem}, // a browser has its own
				})
			}
		}
	}
	return all
}

// start3 starts three nodes with WebSockets in the clear and over TLS.
func start3(t *testing.T) (*harness.Cluster, certificate) {
	t.Helper()
	cert := newCertificate(t)
	return harness.Start(t, harness.Options{Nodes: 3, WS: true, TLS: true, Config: cert.config}), cert
}

// check has every task done.
func check(t *testing.T, all []task, got results) {
	t.Helper()
	for _, x := range all {
		if why, ok := got[x.Name]; !ok {
			t.Errorf("%s: not done", x.Name)
		} else if why != nil {
			t.Errorf("%s: %s", x.Name, *why)
		}
	}
	if why := got["page"]; why != nil {
		t.Errorf("the page: %s", *why)
	}
}

// packages skips the test where npm has not brought MQTT.js.
func packages(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("testdata/node_modules/mqtt/dist/mqtt.min.js"); err != nil {
		t.Skip("left out for want of MQTT.js: .ci/npm e2e/browser/testdata installs it")
	}
}

// TestNode has MQTT.js in Node talk to nodes.
func TestNode(t *testing.T) {
	t.Parallel()
	node := harness.Tool(t, "node", "nodejs")
	packages(t)
	all := tasks(start3(t))
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "node.js")
	cmd.Dir, cmd.Stdin = "testdata", strings.NewReader(string(in))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got results
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, all, got)
}

// TestChromium has MQTT.js in a browser do the same, and a page of another host find
// that it may not.
func TestChromium(t *testing.T) {
	t.Parallel()
	chromium := harness.Tool(t, "chromium", "chromium")
	packages(t)
	c, cert := start3(t)
	all := tasks(c, cert)
	check(t, all, browse(t, chromium, "127.0.0.1", cert, all))

	foreign := all[:1]
	got := browse(t, chromium, "foreign.example", cert, foreign)
	if why, ok := got[foreign[0].Name]; !ok || why == nil {
		t.Errorf("a foreign page may connect: %v", got)
	}
	if n := c.Nodes[0].Metrics()["dunlin_websockets_refused_total"]; n != 1 {
		t.Errorf("%v refusals counted", n)
	}
}

// browse has the browser open the page with its tasks, as one of host's, which the
// browser takes for this machine, and waits for what it says became of them.
func browse(t *testing.T, chromium, host string, cert certificate, all []task) results {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan results, 1)
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir("testdata")))
	mux.HandleFunc("GET /tasks", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(all) })
	mux.HandleFunc("POST /results", func(_ http.ResponseWriter, r *http.Request) {
		var got results
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		done <- got
	})
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	defer server.Close()

	_, port, _ := net.SplitHostPort(l.Addr().String())
	log := filepath.Join(t.TempDir(), "chromium.log")
	stop := run(t, log, chromium,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+cert.hash,
		"--host-resolver-rules=MAP foreign.example 127.0.0.1",
		"http://"+net.JoinHostPort(host, port)+"/page.html")
	defer stop()
	select {
	case got := <-done:
		return got
	case <-time.After(2 * time.Minute):
		text, _ := os.ReadFile(log)
		t.Fatalf("the browser has not come back:\n%.4000s", text)
		return nil
	}
}
