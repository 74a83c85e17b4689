package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// run has dunlin do something that has to succeed, and returns what it says.
func run(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := harness.Dunlin(t, args...)
	if code != 0 {
		t.Fatalf("dunlin %v: exit code %d: %s%s", args, code, stdout, stderr)
	}
	return stdout
}

// refused has dunlin do something that has to fail, with one line that says this.
func refused(t *testing.T, says string, args ...string) {
	t.Helper()
	code, stdout, stderr := harness.Dunlin(t, args...)
	if code != 1 || !strings.Contains(stderr, says) || strings.Count(stderr, "\n") != 1 || stdout != "" {
		t.Errorf("dunlin %v: exit code %d, %q, %q instead of %q", args, code, stdout, stderr, says)
	}
}

// restored looks at a cluster that was restored: the session is there with at
// least the first messages of the publisher, each once and in order, and so is the
// retained message; the wills of connections were published.
func restored(t *testing.T, c *harness.Cluster, pub *publisher, atLeast int) {
	t.Helper()
	sub := &reader{t: t, conn: resume(t, c.Nodes, keeping("sub")), open: map[uint16]bool{}}
	pub.nodes, pub.conn = c.Nodes, nil
	pub.publish("shared/1", sharedOne, 1, nil)
	for !slices.Contains(sub.got, sharedOne) { // its group knows it, in whatever shard that is
		sub.take()
	}
	sub.got = slices.DeleteFunc(sub.got, func(p string) bool { return p == sharedOne })
	const end = "1:end"
	pub.publish("n/1", end, 1, nil)
	for !slices.Contains(sub.got, end) {
		sub.take()
	}
	if n := len(sub.got) - 1; n < atLeast {
		t.Errorf("%d messages, of %d that were acknowledged before", n, atLeast)
	}
	for _, finding := range checkOnce(append(numberedTo(len(sub.got)-1), end), sub.got, func(string) bool { return false }) {
		t.Error(finding)
	}
	late := client(t, c.Nodes[len(c.Nodes)-1], "late")
	late.Subscribe("kept/#", 1)
	late.ExpectMessage("kept/1", "kept")
	harness.Eventually(t, "the wills of all connections that were are retained", func() error {
		late := client(t, c.Nodes[0], "later")
		late.Subscribe("w/#", 1)
		for i := range willing {
			if p, err := late.Poll(time.Second); err != nil {
				return fmt.Errorf("%d wills, then %w", i, err)
			} else if p.Kind != mqtt.PUBLISH {
				return fmt.Errorf("%s", harness.Describe(p))
			} else {
				late.Acknowledge(&p.Publish)
			}
		}
		return nil
	})
}

// sharedOne is the payload for a share group.
const sharedOne = "1:shared"

// willing is how many connections have a will that is retained.
const willing = 30

// populate begins a session that waits offline for what the publisher publishes,
// retains a message, and leaves connections with wills.
func populate(t *testing.T, c *harness.Cluster) *publisher {
	t.Helper()
	sub := connect(t, c.Nodes[1:], keeping("sub"))
	sub.Subscribe("n/#", 2)
	sub.Subscribe("$share/g/shared/#", 1)
	sub.Disconnect()
	for i := range willing { // their wills are for all shards
		connect(t, c.Nodes, mqtt.Connect{
			ClientID: fmt.Appendf(nil, "mortal-%d", i), HasWill: true,
			Will: mqtt.Will{Topic: fmt.Appendf(nil, "w/%d", i), Payload: []byte("gone"), QoS: 1, Retain: true},
		})
	}
	pub := newPublisher(t, "pub", c.Nodes...)
	pub.conn.PublishPacket(mqtt.Publish{Topic: []byte("kept/1"), Payload: []byte("kept"), QoS: 1, Retain: true})
	return pub
}

// TestBackupAndRestore: what was acknowledged before a backup began, while clients
// publish, is in the new cluster that it is restored into: sessions, queues in
// order and each message once, retained messages. A cluster that holds something,
// or has other shards, is refused.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	pub := populate(t, c)
	sent := 0
	publish := func() {
		payload, q := numbered(sent)
		pub.publish("n/1", payload, q, nil)
		sent++
	}
	for range 200 {
		publish()
	}
	before := sent
	file := filepath.Join(t.TempDir(), "backup")
	done := make(chan string)
	go func() {
		_, stdout, stderr := harness.Dunlin(t, "cluster", "backup", "--data-dir", c.Nodes[2].Dir, file)
		done <- stdout + stderr
	}()
	for said := ""; said == ""; {
		select {
		case said = <-done:
			if !strings.HasPrefix(said, "backed up 16 shards") {
				t.Fatal(said)
			}
		default:
			publish()
		}
	}
	t.Logf("%d messages were acknowledged before the backup, %d while it was made", before, sent-before)
	refused(t, "is there already", "cluster", "backup", "--data-dir", c.Nodes[0].Dir, file)
	refused(t, "the cluster is not empty", "cluster", "restore", "--data-dir", c.Nodes[0].Dir, file)

	other := start(t, harness.Options{Args: []string{"--shards", "4"}})
	refused(t, "the backup is of 16 shards and this cluster has 4", "cluster", "restore", "--data-dir", other.Nodes[0].Dir, file)
	refused(t, "not a whole backup file", "cluster", "restore", "--data-dir", other.Nodes[0].Dir, harness.Binary(t))

	// The new cluster is another size.
	to := start(t, harness.Options{Nodes: 2})
	if out := run(t, "cluster", "restore", "--data-dir", to.Nodes[1].Dir, file); !strings.HasPrefix(out, "restored 16 of 16 shards") {
		t.Error(out)
	}
	restored(t, to, pub, before)
	for _, n := range to.Nodes { // on the disk as well
		n.Kill()
	}
	for _, n := range to.Nodes {
		n.Start()
	}
	to.WaitReady()
	connect(t, to.Nodes, keeping("sub")).Disconnect()
	resume(t, to.Nodes, keeping("pub"))
}

// TestRecover: of a cluster whose majority is lost for good, what the node that is
// left holds goes into a new cluster; with most nodes left it is everything.
func TestRecover(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	pub := populate(t, c)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	const text = "otherwise: allow\nrules: [{deny: publish, topics: [never]}]\n"
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "acl", "set", rules, "--data-dir", c.Nodes[0].Dir)
	const sent = 100
	for i := range sent {
		payload, q := numbered(i)
		pub.publish("n/1", payload, q, nil)
	}
	pub.conn.Drop()
	c.WaitAgree(3)
	refused(t, "held by another process", "cluster", "recover", "--data-dir", c.Nodes[0].Dir)
	for _, n := range c.Nodes {
		n.Kill()
	}
	dirs := func(nodes ...*harness.Node) (args []string) {
		for _, n := range nodes {
			args = append(args, "--data-dir", n.Dir)
		}
		return append([]string{"cluster", "recover"}, args...)
	}
	if out := run(t, dirs(c.Nodes[1:]...)...); !strings.Contains(out, "16 shards whole, 0 that may lack the latest, 0 lost") {
		t.Error(out)
	}
	c.Nodes[1].Wipe()
	c.Nodes[2].Wipe()
	if out := run(t, dirs(c.Nodes[0])...); !strings.Contains(out, "0 shards whole, 16 that may lack the latest, 0 lost") {
		t.Error(out)
	}
	file := filepath.Join(t.TempDir(), "saved")
	code, _, stderr := harness.Dunlin(t, append(dirs(c.Nodes[0]), file)...)
	if code != 2 || !strings.Contains(stderr, "--accept-loss") {
		t.Errorf("%d %s", code, stderr)
	}
	run(t, append(dirs(c.Nodes[0]), "--accept-loss", file)...)
	to := start(t, harness.Options{Nodes: 3})
	if out := run(t, "cluster", "restore", "--data-dir", to.Nodes[0].Dir, file); !strings.Contains(out, "from the recovery of") {
		t.Error(out)
	}
	if out := run(t, "acl", "show", "--data-dir", to.Nodes[0].Dir); out != text {
		t.Errorf("rules %q", out)
	}
	restored(t, to, pub, sent)
	to.WaitAgree(3)
}
