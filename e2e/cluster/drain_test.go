package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestDrain: a node is drained under traffic. It is not ready at once, its clients, persistent
// ones of 5.0 and 3.1.1, find their sessions elsewhere and no acknowledged message is lost, no
// will of theirs is published, and it leads nothing; undrain takes all of it back.
func TestDrain(t *testing.T) {
	t.Parallel()
	const devices, rate = 90, 40
	c := start(t, harness.Options{Nodes: 3, Args: []string{"--server-reference", "mqtt.example.com"}})
	victim, others := c.Nodes[1], []*harness.Node{c.Nodes[0], c.Nodes[2]}
	watcher := client(t, others[0], "watcher")
	watcher.Subscribe("gone/#", 1)
	var away atomic.Bool // clients know that the victim is to be left alone
	var fleet []*harness.Device
	for i := range devices {
		hello := mqtt.Connect{ClientID: fmt.Appendf(nil, "d%d", i), SessionExpiry: 3600}
		switch i % 3 {
		case 0:
			hello.Version = mqtt.V311
		case 1:
			hello.HasWill, hello.Will = true, mqtt.Will{Topic: fmt.Appendf(nil, "gone/%d", i), Payload: []byte("will"), QoS: 1, Delay: 300}
		}
		fleet = append(fleet, harness.NewDevice(t, harness.DeviceOptions{
			Connect: hello, Filter: fmt.Sprintf("to/%d", i),
			Addr: func() string {
				if away.Load() {
					return others[rand.IntN(2)].MQTT
				}
				return victim.MQTT
			},
		}))
	}
	for _, d := range fleet {
		harness.Eventually(t, "all devices connect", d.Up)
	}
	harness.Eventually(t, "the victim counts its clients", func() error { return counts(victim, devices) })
	pub := harness.NewDevice(t, harness.DeviceOptions{
		Connect: keeping("pub"), Addr: func() string { return others[0].MQTT },
	})
	acked, stopped := make([][]string, devices), make(chan struct{})
	var halt atomic.Bool
	go func() {
		defer close(stopped)
		for i := 0; !halt.Load(); i++ {
			payload := fmt.Sprint(i)
			if pub.Publish(fmt.Sprintf("to/%d", i%devices), payload) {
				acked[i%devices] = append(acked[i%devices], payload)
			}
		}
	}()

	away.Store(true)
	began := time.Now()
	if out := cluster(t, others[0], "drain", "n2", "--rate", fmt.Sprint(rate), "--wait=false"); !strings.Contains(out, "n2 is being drained") {
		t.Error(out)
	}
	harness.Eventually(t, "the victim is not ready", func() error {
		if err := victim.Ready(); err == nil || !strings.Contains(err.Error(), "drained") {
			return fmt.Errorf("it says %w", errors.Join(err, errors.New("so far")))
		}
		return nil
	})
	for _, v := range []mqtt.Version{mqtt.V5, mqtt.V311} {
		stray := harness.TryConnect(t, victim.MQTT, mqtt.Connect{Version: v, ClientID: []byte("stray"), CleanStart: true})
		if v == mqtt.V5 && (stray.Connack.Reason != mqtt.UseAnotherServer || string(stray.Connack.ServerReference) != "mqtt.example.com") {
			t.Errorf("5.0 stray: %+v", stray.Connack)
		}
		if v == mqtt.V311 && stray.Connack.Reason != mqtt.ServerUnavailable {
			t.Errorf("3.1.1 stray: %+v", stray.Connack)
		}
		stray.ExpectClosed()
	}
	if out := cluster(t, others[1], "drain", "n2", "--rate", fmt.Sprint(rate), "--timeout", "60s"); out != "n2 is drained\n" {
		t.Error(out)
	}
	if took := time.Since(began); took < (devices/rate-1)*time.Second {
		t.Errorf("all were gone after %v", took)
	}
	for _, d := range fleet {
		harness.Eventually(t, "all devices are back", d.Up)
	}
	harness.Eventually(t, "the others count the clients", func() error {
		return errors.Join(counts(victim, 0), counts(others[0], devices+2, others[1]))
	})
	if st := statusOf(t, others[0]); st.leads("n2") != 0 || st.node("n2").Drain.Phase != "asked" {
		t.Errorf("n2 leads %d groups: %+v", st.leads("n2"), st.node("n2"))
	}
	if out := cluster(t, others[0], "status"); !strings.Contains(out, "alive, drained") {
		t.Errorf("status:\n%s", out)
	}
	halt.Store(true)
	<-stopped
	total := 0
	for i, d := range fleet {
		harness.Eventually(t, "all that was acknowledged has come", func() error {
			got := d.Got()
			for _, payload := range acked[i] {
				if !slices.Contains(got, payload) {
					return fmt.Errorf("device %d lacks %s", i, payload)
				}
			}
			return nil
		})
		total += len(acked[i])
		visits := d.Visits()
		last := visits[len(visits)-1]
		if len(visits) != 2 || !last.Present || last.Addr == victim.MQTT {
			t.Errorf("device %d: %+v", i, visits)
		}
		if told := visits[0].Told; told != (i%3 != 0) || told && (visits[0].Reason != mqtt.UseAnotherServer || visits[0].Reference != "mqtt.example.com") {
			t.Errorf("device %d was told %+v", i, visits[0])
		}
	}
	t.Logf("%d messages acknowledged", total)
	watcher.ExpectQuiet() // no will

	// What is drained stays drained over a restart, until that is taken back.
	victim.Stop()
	victim.Start()
	victim.WaitLive()
	harness.Eventually(t, "the victim remembers", func() error {
		if err := victim.Ready(); err == nil || !strings.Contains(err.Error(), "drained") {
			return fmt.Errorf("not so: %w", errors.Join(err, errors.New("so far")))
		}
		return nil
	})
	cluster(t, others[1], "undrain", "n2")
	victim.WaitReady()
	client(t, victim, "new").ExpectQuiet()
	cluster(t, others[0], "rebalance")
	harness.Within(t, time.Minute, "the victim leads again", func() error {
		if n := statusOf(t, others[0]).leads("n2"); n == 0 {
			return errors.New("it leads nothing")
		}
		return nil
	})
	c.WaitAgree(3)
}

// TestDrainUntilRestart: a node that is drained until it starts anew takes clients then. The last
// one that takes clients is not drained, nor a second of three unless it is forced; a cordoned one keeps those that are there.
func TestDrainUntilRestart(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	there := client(t, c.Nodes[2], "there")
	cluster(t, c.Nodes[0], "drain", "--self", "--until-restart")
	if err := c.Nodes[0].Ready(); err == nil {
		t.Error("a drained node is ready")
	}
	if out, err := runCluster(t, c.Nodes[1], "drain", "n2"); err == nil || !strings.Contains(out, "no majority of their voters without it, as n1 is drained or not there; dunlin cluster drain --force") {
		t.Errorf("two of three: %v\n%s", err, out)
	}
	cluster(t, c.Nodes[1], "drain", "n3", "--cordon")
	harness.Eventually(t, "n3 is cordoned", func() error {
		if err := c.Nodes[2].Ready(); err == nil || !strings.Contains(err.Error(), "cordoned") {
			return errors.New("it is not")
		}
		return nil
	})
	stray := harness.TryConnect(t, c.Nodes[2].MQTT, mqtt.Connect{ClientID: []byte("stray"), CleanStart: true})
	if stray.Connack.Reason != mqtt.UseAnotherServer {
		t.Errorf("a cordoned node answers %v", stray.Connack.Reason)
	}
	there.ExpectQuiet()
	if out, err := runCluster(t, c.Nodes[1], "drain", "n2", "--force"); err == nil || !strings.Contains(out, "no other node that can be reached takes clients") {
		t.Errorf("the last one: %v\n%s", err, out)
	}
	c.Nodes[0].Stop()
	c.Nodes[0].Start()
	c.Nodes[0].WaitReady()
	cluster(t, c.Nodes[1], "undrain", "n3")
	c.Nodes[2].WaitReady()
	there.ExpectQuiet()
}

// TestRemoveDrains: clients of a node that is removed are asked to go, as of one that is drained, and
// it has not left before they are gone; a removal that is taken back lets them in again.
func TestRemoveDrains(t *testing.T) {
	t.Parallel()
	const devices = 30
	c := start(t, harness.Options{Nodes: 3})
	victim := c.Nodes[2]
	var fleet []*harness.Device
	for i := range devices {
		visits := 0
		fleet = append(fleet, harness.NewDevice(t, harness.DeviceOptions{
			Connect: keeping(fmt.Sprint("d", i)),
			Addr: func() string {
				visits++
				if visits == 1 {
					return victim.MQTT
				}
				return c.Nodes[i%2].MQTT
			},
		}))
	}
	for _, d := range fleet {
		harness.Eventually(t, "all devices connect", d.Up)
	}
	harness.Eventually(t, "n3 counts its clients", func() error { return counts(victim, devices) })
	cluster(t, c.Nodes[0], "drain", "n3", "--rate", "5/s", "--wait=false")
	cluster(t, c.Nodes[0], "remove", "n3")
	cluster(t, c.Nodes[0], "remove", "n3", "--undo")
	cluster(t, c.Nodes[0], "undrain", "n3")
	victim.WaitReady()
	if left := victim.Metrics()["dunlin_clients"]; left == 0 {
		t.Error("all clients were gone at once")
	}
	if out := cluster(t, c.Nodes[0], "remove", "n3", "--wait"); out != "n3 has left the cluster\n" {
		t.Error(out)
	}
	for _, d := range fleet {
		harness.Eventually(t, "all devices are back", d.Up)
	}
	if away := victim.Metrics()["dunlin_clients_sent_away_total"]; away != devices {
		t.Errorf("%v of %d clients were asked to go", away, devices)
	}
	for i, d := range fleet {
		visits := d.Visits()
		if last := visits[len(visits)-1]; len(visits) != 2 || !last.Present || !visits[0].Told || visits[0].Reason != mqtt.UseAnotherServer {
			t.Errorf("device %d: %+v", i, visits)
		}
	}
}

// TestEvenConnections: clients of a node that has too many are asked to go elsewhere, down to the
// average and no further.
func TestEvenConnections(t *testing.T) {
	t.Parallel()
	const devices = 60
	c := start(t, harness.Options{Nodes: 3})
	var fleet []*harness.Device
	for i := range devices {
		visits, hello := 0, keeping(fmt.Sprint("d", i))
		if i%2 == 1 {
			hello.Version = mqtt.V311
		}
		fleet = append(fleet, harness.NewDevice(t, harness.DeviceOptions{
			Connect: hello,
			Addr: func() string { // first all to one node, then to the others in turn
				visits++
				if visits == 1 {
					return c.Nodes[0].MQTT
				}
				return c.Nodes[1+i%2].MQTT
			},
		}))
	}
	for _, d := range fleet {
		harness.Eventually(t, "all devices connect", d.Up)
	}
	harness.Eventually(t, "n1 counts its clients", func() error { return counts(c.Nodes[0], devices) })
	if out := cluster(t, c.Nodes[1], "rebalance", "--connections", "--rate", "50/s"); out != "n1 asks 40 clients to go, at most 50 in a second\n" {
		t.Error(out)
	}
	harness.Eventually(t, "a third is left", func() error {
		return errors.Join(counts(c.Nodes[0], devices/3), counts(c.Nodes[1], 2*devices/3, c.Nodes[2]))
	})
	if out := cluster(t, c.Nodes[2], "rebalance", "--connections"); !strings.Contains(out, "connections are even") && !strings.Contains(out, "asks") {
		t.Error(out)
	}
	if err := counts(c.Nodes[0], devices/3); err != nil {
		t.Error(err)
	}
}

// counts says whether nodes have so many clients together.
func counts(n *harness.Node, want int, more ...*harness.Node) error {
	got := 0
	for _, x := range append(more, n) {
		got += int(x.Metrics()["dunlin_clients"])
	}
	if got != want {
		return fmt.Errorf("%s and %d more have %d clients, want %d", n.Name, len(more), got, want)
	}
	return nil
}

// clusterStatus is what dunlin cluster status says, as far as it concerns a drain.
type clusterStatus struct {
	Nodes  []nodeStatus
	Groups []struct{ Leader string }
}

type nodeStatus struct {
	Name, Identity string
	Clients        *int
	Drain          *struct{ Phase string }
}

func statusOf(t *testing.T, n *harness.Node) (st clusterStatus) {
	t.Helper()
	if err := json.Unmarshal([]byte(cluster(t, n, "status", "-o", "json")), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func (st clusterStatus) node(name string) nodeStatus {
	return st.Nodes[slices.IndexFunc(st.Nodes, func(n nodeStatus) bool { return n.Name == name })]
}

// leads is how many groups a node leads.
func (st clusterStatus) leads(name string) (n int) {
	for _, g := range st.Groups {
		if g.Leader == st.node(name).Identity {
			n++
		}
	}
	return n
}
