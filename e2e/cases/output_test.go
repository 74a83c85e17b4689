package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// clientText: what clients say is quoted and cut in logs, is no label, and does not act on
// the operator's terminal.
func clientText(t *testing.T, p *place) { // case 55
	const evil = "evil\n\x1b[31mlevel=ERROR msg=panic"
	long := strings.Repeat("long", 16_000)
	for _, text := range []string{evil, long} {
		for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			bad := p.sub.try(t, mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte(text),
				HasUsername: true, Username: []byte(text[:min(len(text), 1000)]), HasPassword: true, Password: []byte(text[:min(len(text), 100)])})
			if r := bad.Connack.Reason; r != mqtt.BadUsernameOrPassword {
				t.Errorf("version %v: CONNACK %v", version, r)
			}
			c := p.sub.as("ann").connect(t, mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte(text)})
			c.SubscribeAll(mqtt.Subscription{Filter: []byte("no-way/" + text[:min(len(text), 60_000)])})
			c.Publish("no-way/"+text[:min(len(text), 60_000)], text, 0)
			c.ExpectQuiet()
			if _, out, _ := harness.Dunlin(t, "clients", "ls", "--data-dir", p.sub.node.Dir); strings.Contains(out, "\x1b") || !strings.Contains(out, text[:4]) {
				t.Errorf("dunlin clients ls: %.300q", out)
			}
			c.Disconnect()
		}
	}
	var trail []byte
	harness.Eventually(t, "refusals are in the audit log", func() (err error) {
		if trail, err = os.ReadFile(p.dir + "/audit.log"); err == nil && !strings.Contains(string(trail), "no-way/evil") {
			err = errors.New("they are not")
		}
		return err
	})
	for line := range strings.Lines(string(trail)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil || len(line) > 2000 || strings.ContainsAny(line, "\x1b") {
			t.Errorf("audit log: %v in %.300q", err, line)
		}
	}
	for line := range strings.Lines(p.log()) {
		if !strings.HasPrefix(line, "time=") || len(line) > 4000 || strings.ContainsAny(line, "\x1b") {
			t.Errorf("log: %.300q", line)
		}
	}
	if metrics := p.sub.node.API(http.MethodGet, "/metrics"); strings.Contains(metrics, "evil") || strings.Contains(metrics, "longlong") {
		t.Error("a metric has what a client said")
	}
}

// noDescriptors: clients cannot take the descriptors that the node needs for itself. Who comes
// when they are gone is told so, and comes in when there are some again.
func noDescriptors(t *testing.T, p *place) { // case 56
	n := p.sub.node
	before := n.Metrics()
	var in []*harness.Client
	refused := 0
	for range scarceFiles {
		switch c, why, closed := p.sub.attempt(t, mqtt.Connect{}); {
		case closed:
			refused++
		case why == mqtt.Success:
			in = append(in, c)
		case why == mqtt.QuotaExceeded:
			refused++
		default:
			t.Fatalf("CONNACK %v", why)
		}
	}
	if len(in) < scarceFiles/3 || len(in) > scarceFiles-100 {
		t.Errorf("%d let in", len(in))
	}
	for _, c := range in[:10] {
		c.Subscribe("scarce", 1)
		c.Publish("scarce", "x", 1)
		c.ExpectMessage("scarce", "x")
		c.Unsubscribe("scarce")
	}
	if clients := n.API(http.MethodGet, "/api/v1/clients?limit=1"); !strings.Contains(clients, "client_id") {
		t.Errorf("the node has no descriptor for its administrators: %s", clients)
	}
	harness.Eventually(t, "who was refused is counted", func() error {
		m := n.Metrics()
		if errs, limited := m["dunlin_accept_errors_total"]-before["dunlin_accept_errors_total"], m["dunlin_connections_limited_total"]-before["dunlin_connections_limited_total"]; errs != 0 || limited < float64(refused) {
			return fmt.Errorf("%v errors of accept, %v limited of %d", errs, limited, refused)
		}
		return nil
	})
	for _, c := range in {
		c.Drop()
	}
	harness.Eventually(t, "clients are let in again", func() error {
		if _, why, closed := p.sub.attempt(t, mqtt.Connect{}); closed || why != mqtt.Success {
			return fmt.Errorf("%v, closed %v", why, closed)
		}
		return nil
	})
}
