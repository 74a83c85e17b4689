package upgrade

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/client"
	"dunlin/e2e/chaos/history"
	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// crew is clients that keep their sessions and move between the nodes, also in the middle of a
// handshake, and whatever else the checkers know of.
type crew struct {
	t       *testing.T
	rec     *history.Recorder
	clients []*client.Client
	reader  *client.Reader
}

// calm is how long nothing has come when a session counts as drained.
const calm = 1500 * time.Millisecond

var errNotYet = errors.New("not yet")

func newCrew(t *testing.T, c *harness.Cluster) *crew {
	t.Helper()
	w := &crew{t: t, rec: history.NewRecorder(1)}
	var nodes []client.Node
	for _, n := range c.Nodes {
		nodes = append(nodes, client.Node{Name: n.Name, Addr: n.MQTT})
	}
	add := func(id string, cfg client.Config) {
		cfg.ID, cfg.Nodes, cfg.Seed = id, nodes, uint64(len(w.clients))+1
		w.clients = append(w.clients, client.New(cfg, w.rec))
	}
	keeps := client.Config{Expiry: time.Hour, Move: 3 * time.Second, MidHandshake: 0.005}
	for i := range 3 {
		sub := keeps
		sub.Filters = []client.Filter{{Filter: "t/#", QoS: mqtt.QoS(i%2 + 1)}}
		add(fmt.Sprint("sub-", i), sub)
	}
	for i := range 2 {
		member := keeps
		member.Filters = []client.Filter{{Filter: "$share/g/t/#", QoS: 2}}
		add(fmt.Sprint("member-", i), member)
	}
	add("witness", client.Config{Expiry: time.Hour, Filters: []client.Filter{{Filter: "w", QoS: 2}}})
	w.wait("subscribe", (*client.Client).Settled)
	for i := range 3 {
		pub := keeps
		pub.Topics, pub.QoS, pub.Every = []string{fmt.Sprint("t/", i), "t/all"}, []mqtt.QoS{1, 2}, 20*time.Millisecond
		add(fmt.Sprint("pub-", i), pub)
	}
	mortal := keeps
	mortal.Will = &client.Will{Topic: "w", QoS: 2}
	add("mortal", mortal)
	add("writer", client.Config{Topics: []string{"r"}, QoS: []mqtt.QoS{1}, Retain: true, Every: 50 * time.Millisecond, Window: 1})
	w.reader = client.NewReader("reader", nodes, []string{"r"}, 50*time.Millisecond, 99, w.rec)
	w.wait("settle", (*client.Client).Settled)
	return w
}

// wait polls until each client has done what is asked of it.
func (w *crew) wait(what string, done func(*client.Client) bool) {
	w.t.Helper()
	harness.Within(w.t, time.Minute, "the clients "+what, func() error {
		for _, c := range w.clients {
			if !done(c) {
				return fmt.Errorf("%s: %w", c.ID, errNotYet)
			}
		}
		return nil
	})
}

// work lets them go on for a while.
func (w *crew) work(d time.Duration) {
	w.t.Helper()
	end := time.Now().Add(d)
	harness.Within(w.t, d+time.Minute, "some time has passed", func() error {
		if time.Now().Before(end) {
			return errNotYet
		}
		return nil
	})
}

// end ends them and says what the cluster has done wrong.
func (w *crew) end() {
	w.t.Helper()
	w.reader.Stop()
	for _, c := range w.clients {
		c.Mute()
	}
	w.wait("settle in the end", (*client.Client).Settled)
	w.wait("are drained", func(c *client.Client) bool { return c.Drain(calm) })
	for _, c := range w.clients {
		c.Stop()
	}
	h := w.rec.History()
	published := 0
	for i := range h.Events {
		if e := &h.Events[i]; e.Op == history.Publish && e.Outcome == history.OK {
			published++
		}
	}
	if w.t.Logf("%d messages were acknowledged", published); published < 100 {
		w.t.Error("there was no traffic to speak of")
	}
	for _, v := range check.History(h, check.DefaultOptions()) {
		w.t.Error(v)
	}
}
