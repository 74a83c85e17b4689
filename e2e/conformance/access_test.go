package conformance

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// Users and rules hold from the first packet, and follow their files while clients are
// connected; files that are wrong change nothing (cases 43, 44, 45).
func TestUsersAndRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users, rules := filepath.Join(dir, "users"), filepath.Join(dir, "rules.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const bob, eve = "bob:$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ==\n", "eve:nonsense\n"
	write(users, bob)
	const most = "  - {allow: all, topics: [open]}\n  - {allow: subscribe, users: [bob], topics: [\"bobs/${clientid}\"]}\n"
	write(rules, "rules:\n"+most)
	config := fmt.Sprintf("auth: {users-file: %s}\nacl: {file: %s}\n", users, rules)
	n := harness.Start(t, harness.Options{Config: config}).Nodes[0]

	connect := func(user, pass string) (*harness.Client, mqtt.Reason) {
		t.Helper()
		c := harness.TryConnect(t, n.MQTT, mqtt.Connect{CleanStart: true, ClientID: []byte("of-" + user),
			HasUsername: user != "", Username: []byte(user), HasPassword: pass != "", Password: []byte(pass)})
		return c, c.Connack.Reason
	}
	for _, c := range []struct {
		user, pass string
		want       mqtt.Reason
	}{
		{"", "", mqtt.NotAuthorized}, {"", "secret", mqtt.NotAuthorized}, {"bob", "", mqtt.BadUsernameOrPassword},
		{"bob", "wrong", mqtt.BadUsernameOrPassword}, {"eve", "secret", mqtt.BadUsernameOrPassword}, {"bob", "secret", mqtt.Success},
	} {
		if _, got := connect(c.user, c.pass); got != c.want {
			t.Errorf("user %q, password %q: CONNACK %v", c.user, c.pass, got)
		}
	}
	client, _ := connect("bob", "secret")
	subscribe := func(filter string) mqtt.Reason {
		t.Helper()
		client.Send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte(filter)}}})
		return client.Expect(mqtt.SUBACK).Suback.Reasons[0]
	}
	publish := func(topic string) mqtt.Reason {
		t.Helper()
		client.Send(&mqtt.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1})
		return client.Expect(mqtt.PUBACK).Ack.Reason
	}
	if got := []mqtt.Reason{subscribe("bobs/of-bob"), subscribe("bobs/of-eve"), publish("open"), publish("bobs/of-bob")}; got[0] != mqtt.Success ||
		got[1] != mqtt.NotAuthorized || got[2] >= mqtt.Unspecified || got[3] != mqtt.NotAuthorized {
		t.Errorf("answers %v", got)
	}

	write(rules, "rules: nonsense")
	write(users, bob+eve)
	n.Hangup()
	harness.Eventually(t, "the wrong files told of", func() error {
		if log := n.Log(); strings.Contains(log, "rules not reloaded") && strings.Contains(log, "line 2: user \\\"eve\\\"") {
			return nil
		}
		return fmt.Errorf("log: %s", n.Log())
	})
	if got := publish("open"); got >= mqtt.Unspecified {
		t.Errorf("with wrong files: %v", got)
	}
	write(rules, "rules:\n"+most+"  - {allow: publish, topics: [more]}\n")
	alsoEve := strings.Replace(bob, "bob", "eve", 1)
	write(users, bob+alsoEve)
	n.Hangup()
	harness.Eventually(t, "the right files are taken", func() error {
		if got := publish("more"); got >= mqtt.Unspecified {
			return fmt.Errorf("PUBACK %v", got)
		}
		if _, got := connect("eve", "secret"); got != mqtt.Success {
			return fmt.Errorf("CONNACK %v", got)
		}
		return nil
	})
	there, _ := connect("eve", "secret")
	there.ExpectQuiet() // who is as he was stays, as the first one did
	write(users, alsoEve)
	n.Hangup()
	if got := client.Expect(mqtt.DISCONNECT).Disconnect.Reason; got != mqtt.NotAuthorized {
		t.Errorf("a user who is taken out: DISCONNECT %v", got)
	}
	if _, got := connect("bob", "secret"); got != mqtt.BadUsernameOrPassword {
		t.Errorf("a user who is gone: CONNACK %v", got)
	}
	there.ExpectQuiet()
}

// A verified certificate names the user, by the rule, or lets nobody in (case 51).
func TestCertificatesNameUsers(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "ca")
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	a.must(os.WriteFile(rules, []byte("rules: [{allow: all, topics: [\"of/${username}\", \"cert/${cert}\"]}]"), 0o600))
	n := secured(t, a, "  client-ca: "+a.pem("ca")+"\n  client-auth: request\nauth: {certificate: dns}\nacl: {file: "+rules+"}\n")
	host, port, _ := net.SplitHostPort(n.MQTTS)
	dunlin := func(name string, args ...string) (string, error) {
		args = append(args, "-h", host, "-p", port, "--cafile", a.pem("ca"))
		if name != "" {
			args = append(args, "--cert", a.pem(name), "--key", a.keyOf(name))
		}
		out, err := exec.Command(n.Bin, args...).CombinedOutput()
		return string(out), err
	}
	for _, c := range []struct {
		name  string
		names []string
		in    bool
	}{
		{"gate", []string{"gate.example"}, true}, {"wild", []string{"*.example"}, false},
		{"several", []string{"gate.example", "admin.example"}, false}, {"without", nil, false},
	} {
		a.sign(c.name, &x509.Certificate{DNSNames: c.names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		for _, topic := range []string{"of/gate.example", "cert/gate.example"} {
			out, err := dunlin(c.name, "pub", "-t", topic, "-m", "x", "-q", "1", "-r")
			if (err == nil) != c.in || !c.in && !strings.Contains(out, "not authorized") {
				t.Errorf("%s: %v: %s", c.name, err, out)
			}
		}
	}
	for _, args := range [][]string{{"gate", "of/admin.example"}, {"", "of/gate.example"}} {
		if out, err := dunlin(args[0], "pub", "-t", args[1], "-m", "x", "-q", "1"); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out, err := dunlin("gate", "sub", "-t", "of/gate.example", "-C", "1"); err != nil || !strings.Contains(out, "x") {
		t.Errorf("sub: %v: %s", err, out)
	}
	if out, err := dunlin("gate", "pub", "-t", "of/gate.example", "-m", "x", "-u", "other", "-P", "y"); err == nil {
		t.Errorf("under another name: %s", out)
	}
}
