package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// A ban that one node is told holds on all, at once for who is connected, until it is
// removed or has ended; it outlives a restart.
func TestBans(t *testing.T) {
	t.Parallel()
	cl := harness.Start(t, harness.Options{Nodes: 3, Config: "proxy-protocol: {mqtt: [127.0.0.0/8]}\n"})
	cl.NeedReplicas()
	ban := func(args ...string) string {
		t.Helper()
		code, out, errs := harness.Dunlin(t, append(append([]string{"ban"}, args...), "--http", cl.Nodes[0].HTTP)...)
		if code != 0 {
			t.Fatalf("dunlin ban %v: %s", args, errs)
		}
		return out
	}
	connect := func(n *harness.Node, from, id, user string, v mqtt.Version) (*harness.Client, mqtt.Reason) {
		t.Helper()
		c := behind(t, n, from)
		why, closed := answered(t, c, mqtt.Connect{Version: v, ClientID: []byte(id), HasUsername: user != "", Username: []byte(user)})
		if closed {
			t.Fatal("closed without an answer")
		}
		return c, why
	}
	let := func(n *harness.Node, from, id, user string) *harness.Client {
		t.Helper()
		c, why := connect(n, from, id, user, mqtt.V5)
		if why != mqtt.Success {
			t.Fatalf("client %s: %v", id, why)
		}
		return c
	}
	for _, c := range []struct{ kind, value, from, id, user string }{
		{"client", "evil/#\t\"x", "192.0.2.1", "evil/#\t\"x", ""},
		{"user", "eve", "192.0.2.2", "a", "eve"},
		{"address", "198.51.100.0/24", "198.51.100.9", "b", ""},
		{"address", "192.0.2.77", "192.0.2.77", "c", ""},
	} {
		t.Run(c.kind+" "+c.value, func(t *testing.T) {
			good := let(cl.Nodes[2], "192.0.2.9", "good", "ann")
			bad := let(cl.Nodes[2], c.from, c.id, c.user)
			if out := ban("add", c.kind, c.value, "--reason", "floods", "--for", "1h"); !strings.Contains(out, "until") {
				t.Error(out)
			}
			bad.ExpectDisconnect(mqtt.AdministrativeAction) // DISCONNECT has no 0x8A
			for k, n := range cl.Nodes {
				harness.Eventually(t, "the ban holds everywhere", func() error {
					if _, why := connect(n, c.from, c.id, c.user, mqtt.V5); why != mqtt.Banned {
						return fmt.Errorf("node %d: %v", k, why)
					}
					return nil
				})
				if _, why := connect(n, c.from, c.id, c.user, mqtt.V311); why != mqtt.NotAuthorized {
					t.Errorf("node %d, 3.1.1: %v", k, why)
				}
			}
			good.ExpectQuiet()
			if out := ban("list"); !strings.Contains(out, "floods") {
				t.Error(out)
			}
			cl.Nodes[1].Stop()
			cl.Nodes[1].Restart()
			if _, why := connect(cl.Nodes[1], c.from, c.id, c.user, mqtt.V5); why != mqtt.Banned {
				t.Errorf("after a restart: %v", why)
			}
			ban("remove", c.kind, c.value)
			if out := ban("list"); strings.Contains(out, "floods") {
				t.Error(out)
			}
			for _, n := range cl.Nodes {
				harness.Eventually(t, "nobody is banned any more", func() error {
					if _, why := connect(n, c.from, c.id, c.user, mqtt.V5); why != mqtt.Success {
						return fmt.Errorf("%v", why)
					}
					return nil
				})
			}
		})
	}
	ban("add", "client", "short", "--for", "1s")
	harness.Eventually(t, "a ban ends", func() error {
		if _, why := connect(cl.Nodes[0], "192.0.2.1", "short", "", mqtt.V5); why != mqtt.Success {
			return fmt.Errorf("%v", why)
		}
		return nil
	})
	for _, args := range [][]string{{"add", "address", "10.0.0.1/8"}, {"add", "thing", "x"}, {"add", "client", ""}, {"remove", "client", "nobody"}} {
		if code, out, _ := harness.Dunlin(t, append(append([]string{"ban"}, args...), "--http", cl.Nodes[0].HTTP)...); code == 0 {
			t.Errorf("dunlin ban %v: %s", args, out)
		}
	}
	if list := cl.Nodes[0].API(http.MethodGet, "/api/v1/bans"); !strings.Contains(list, `"bans"`) {
		t.Error(list)
	}
}
