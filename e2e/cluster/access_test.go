package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// as is the CONNECT of a user.
func as(user, password string) mqtt.Connect {
	return mqtt.Connect{
		ClientID: []byte("of-" + user), CleanStart: true,
		HasUsername: true, Username: []byte(user), HasPassword: true, Password: []byte(password),
	}
}

// asked waits until a node answers a user's CONNECT in a certain way.
func asked(t *testing.T, n *harness.Node, hello mqtt.Connect, want mqtt.Reason) (c *harness.Client) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%s answers %s with %v", n.Name, hello.Username, want), func() error {
		if c = harness.TryConnect(t, n.MQTT, hello); c.Connack.Reason != want {
			return fmt.Errorf("CONNACK %v", c.Connack.Reason)
		}
		return nil
	})
	return c
}

// challenge is what a client is told that would prove to know a user's password.
func challenge(t *testing.T, n *harness.Node, user string) string {
	t.Helper()
	c := harness.Dial(t, n.MQTT)
	c.Send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, HasAuthMethod: true, AuthMethod: []byte("SCRAM-SHA-256"), AuthData: []byte("n,,n=" + user + ",r=x")})
	_, told, _ := strings.Cut(string(c.Expect(mqtt.AUTH).Auth.Data), ",")
	return told
}

// TestUsersOfTheCluster: a user who is added at one node connects at another; with another
// password, or removed, he is cut off there and refused, also by a node that was away when
// it happened, from its first moment on. Rules go the same way, and both into a backup.
func TestUsersOfTheCluster(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3, Config: "auth: {store: true}\n"})
	first, third := c.Nodes[0], c.Nodes[2]
	must := func(stdin string, args ...string) {
		t.Helper()
		if code, out, errs := harness.DunlinGiven(t, stdin, args...); code != 0 || errs != "" {
			t.Fatalf("%v: %d, %s%s", args, code, out, errs)
		}
	}
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules: [{allow: all, topics: [\"u/${username}/#\"]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked(t, third, as("ann", "sesame"), mqtt.BadUsernameOrPassword)
	must("sesame\n", "user", "add", "ann", "--http", first.HTTP)
	must("sesame\n", "user", "add", "bob", "--data-dir", first.Dir)
	must("", "acl", "set", rules, "--http", c.Nodes[1].HTTP)
	bob := asked(t, third, as("bob", "sesame"), mqtt.Success)
	ann := asked(t, third, as("ann", "sesame"), mqtt.Success)
	harness.Eventually(t, "the rules at the third node", func() error {
		if got := ann.SubscribeAll(mqtt.Subscription{Filter: []byte("u/ann/#")}); got[0] != mqtt.Success {
			return fmt.Errorf("SUBACK %v", got)
		}
		return nil
	})
	if got := ann.SubscribeAll(mqtt.Subscription{Filter: []byte("u/bob/#")}); got[0] != mqtt.NotAuthorized {
		t.Errorf("another user's topics: SUBACK %v", got)
	}

	must("changed\n", "user", "passwd", "ann", "--http", first.HTTP)
	ann.ExpectDisconnect(mqtt.NotAuthorized)
	asked(t, third, as("ann", "sesame"), mqtt.BadUsernameOrPassword)
	ann = asked(t, third, as("ann", "changed"), mqtt.Success)
	must("", "user", "remove", "ann", "--http", first.HTTP)
	ann.ExpectDisconnect(mqtt.NotAuthorized)
	asked(t, third, as("ann", "changed"), mqtt.BadUsernameOrPassword)
	bob.Publish("u/bob/x", "still here", 1)

	third.Kill()
	must("", "user", "remove", "bob", "--http", first.HTTP)
	must("sesame\n", "user", "add", "eve", "--http", first.HTTP)
	third.Restart()
	for user, want := range map[string]mqtt.Reason{"bob": mqtt.BadUsernameOrPassword, "eve": mqtt.Success} {
		if got := harness.TryConnect(t, third.MQTT, as(user, "sesame")).Connack.Reason; got != want {
			t.Errorf("%s at a node that was away: CONNACK %v", user, got)
		}
	}
	// A backup has them too.
	file := filepath.Join(t.TempDir(), "backup")
	must("", "cluster", "backup", "--http", third.HTTP, file)
	other := start(t, harness.Options{Config: "auth: {store: true}\n"}).Nodes[0]
	must("", "cluster", "restore", "--http", other.HTTP, file)
	eve := asked(t, other, as("eve", "sesame"), mqtt.Success)
	eve.Publish("u/eve/x", "by the rules", 1)
	// And what makes names that are not there look like hers, at all nodes (case 44).
	for _, user := range []string{"eve", "nobody"} {
		at := challenge(t, first, user)
		for _, n := range []*harness.Node{third, other} {
			if now := challenge(t, n, user); now != at {
				t.Errorf("%s is told %q instead of %q at %s", user, now, at, n.Name)
			}
		}
	}
	for _, n := range append(c.Nodes, other) {
		if log := n.Log(); strings.Contains(log, "sesame") || strings.Contains(log, "changed\n") || strings.Contains(log, "$argon2id") {
			t.Errorf("%s: the log has a password or a hash in it", n.Name)
		}
	}
}
