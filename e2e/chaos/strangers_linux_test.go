package chaos

import (
	"fmt"
	"strings"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestStrangers: a node without the cluster's certificates, or without its gossip
// key, joins nothing (case 52), and the cluster goes on as if it were not there.
func TestStrangers(t *testing.T) {
	r := newRig(t, scenario{nodes: 4, members: 2})
	other := harness.NewCA(t)
	ours := func(name, host string) (tls, key []string) { return part(r.ca.Args(name, host)) }
	theirs := func(name, host string) (tls, key []string) { return part(other.Args(name, host)) }
	for i, c := range []struct {
		name     string
		refusal  string // in the log of either side
		tls, key func(name, host string) (tls, key []string)
	}{
		{"other CA", "authentication handshake failed", theirs, ours},
		{"other gossip key", "decrypt", ours, theirs},
	} {
		host := r.lan.Host(3 + i)
		tls, _ := c.tls(fmt.Sprint("stranger", i), host)
		_, key := c.key(fmt.Sprint("stranger", i), host)
		stranger := harness.Lay(t, harness.Options{
			Args: append([]string{"--allow-anonymous", "--join", r.lan.Host(1) + ":7946"}, append(tls, key...)...),
			Place: func(int) harness.Place {
				return harness.Place{Host: host, Within: r.lan.Within(3 + i)}
			},
		}).Nodes[0]
		stranger.Start()
		stranger.WaitLive()
		harness.Eventually(t, c.name+" is refused", func() error {
			if said := stranger.Log() + r.cluster.Nodes[0].Log(); !strings.Contains(said, c.refusal) {
				return errNotYet
			}
			return nil
		})
		r.serves(c.name)
		if stranger.Ready() == nil {
			t.Errorf("%s: it is ready", c.name)
		}
		stranger.Kill()
	}
	for _, n := range r.cluster.Nodes {
		if err := n.Ready(); err != nil {
			t.Errorf("%s is not ready any more: %v", n.Name, err)
		}
	}
}

// part parts the arguments that a CA gives into those of TLS and of gossip.
func part(args []string) (tls, key []string) { return args[:6], args[6:] }

// serves sees that each node routes to each other.
func (r *rig) serves(topic string) {
	r.t.Helper()
	for _, at := range r.cluster.Nodes {
		sub := harness.Connect(r.t, at.MQTT, mqtt.Connect{CleanStart: true})
		sub.Subscribe(topic, 1)
		for _, from := range r.cluster.Nodes {
			pub := harness.Connect(r.t, from.MQTT, mqtt.Connect{CleanStart: true})
			pub.Publish(topic, from.Name, 1)
			sub.ExpectMessage(topic, from.Name)
			pub.Disconnect()
		}
		sub.Disconnect()
	}
}
