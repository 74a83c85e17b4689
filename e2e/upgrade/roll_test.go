package upgrade

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestFromBefore: a cluster of an earlier commit becomes one of this commit.
func TestFromBefore(t *testing.T) {
	began := time.Now()
	bin, commit := before(t)
	t.Logf("from commit %s, built in %v", commit, time.Since(began).Round(time.Millisecond))
	roll(t, bin, harness.Binary(t))
}

// TestToNext: a cluster of this commit becomes one of a release that brings a new level, and no
// node can go back from there.
func TestToNext(t *testing.T) {
	if !*full {
		t.Skip("left out without -upgrade.full")
	}
	roll(t, harness.Binary(t), next(t))
}

// rolling is a cluster that is being upgraded.
type rolling struct {
	t             *testing.T
	before, after string // programs
	cluster       *harness.Cluster
	crew          *crew
	sleeper       sleeper
	steps         int
}

// roll takes a cluster of one program to another: a node, that node back, and then all. What a
// level forbids is refused with its reason.
func roll(t *testing.T, before, after string) {
	c := harness.Lay(t, harness.Options{Nodes: 3, Args: []string{"--snapshot-log-size", "256KB"}})
	for _, n := range c.Nodes {
		n.Bin = before
		n.Start()
	}
	c.WaitReady()
	r := &rolling{t: t, before: before, after: after, cluster: c}
	r.sleeper.t = t
	r.sleeper.sleep(c.Nodes[2])
	r.crew = newCrew(t, c)
	first := r.status()
	old := first.Nodes[0].Newest
	harness.Eventually(t, "the new cluster is at its level", func() error {
		if first = r.status(); first.Level != old {
			return fmt.Errorf("%+v", first)
		}
		return nil
	})

	one, two, three := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	r.step("one of three is new", one, after)
	r.step("it has gone back", one, before)
	r.step("it is new again", one, after)
	r.step("two of three are new", two, after)
	r.same()
	st := r.status()
	if st.Level != max(first.Level, 1) {
		t.Errorf("level %d is in force while a node runs what was before: %+v", st.Level, st)
	}
	i := slices.IndexFunc(st.Nodes, func(n node) bool { return n.Name == one.Name })
	want := st.Nodes[i].Newest
	r.step("all are new", three, after)
	harness.Eventually(t, "the level that all can work at is in force", func() error {
		if st := r.status(); st.Level != want {
			return fmt.Errorf("%d instead of %d: %+v", st.Level, want, st)
		}
		return nil
	})
	switch {
	case old >= want:
		r.step("one has gone back from all", two, before)
		r.step("and come again", two, after)
	case old > 0: // else it does not know that there are levels
		r.refused(two)
	}
	r.same()
	r.crew.end()
	r.sleeper.wake(c)
	r.agree()
}

// step has a node run another program, and the cluster work for a while.
func (r *rolling) step(what string, n *harness.Node, bin string) {
	r.t.Helper()
	began := time.Now()
	if n.Running() {
		n.Stop()
	}
	n.Bin = bin
	n.Start()
	n.WaitReady()
	r.cluster.WaitReady()
	r.t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
	r.serves()
	r.sleeper.publish(r.cluster.Nodes[r.steps%3])
	pause := 500 * time.Millisecond
	if *full {
		pause = 10 * time.Second
	}
	r.crew.work(pause)
}

// serves has a message of each QoS pass between every two nodes.
func (r *rolling) serves() {
	r.t.Helper()
	r.steps++
	for i, n := range r.cluster.Nodes {
		sub := harness.Connect(r.t, n.MQTT, mqtt.Connect{ClientID: fmt.Appendf(nil, "hears-%d-%d", r.steps, i), CleanStart: true})
		topic := fmt.Sprintf("serves/%d/%d", r.steps, i)
		sub.Subscribe(topic, 2)
		for j, m := range r.cluster.Nodes {
			pub := harness.Connect(r.t, m.MQTT, mqtt.Connect{ClientID: fmt.Appendf(nil, "says-%d-%d", r.steps, j), CleanStart: true})
			for qos := range mqtt.QoS(3) {
				payload := fmt.Sprintf("%d from %s", qos, m.Name)
				pub.Publish(topic, payload, qos)
				sub.ExpectMessage(topic, payload)
			}
			pub.Disconnect()
		}
		sub.Disconnect()
	}
}

// refused has a node run a program again that cannot work at the level in force: it ends and
// says why. The others have lost nothing by it, nor has it.
func (r *rolling) refused(n *harness.Node) {
	r.t.Helper()
	n.Stop()
	n.Bin = r.before
	n.Start()
	if code := n.WaitEnded(); code == 0 {
		r.t.Errorf("%s ended as if all were well", n.Name)
	}
	if said := n.Log(); !strings.Contains(said, "never taken back") {
		r.t.Errorf("%s does not say why it ended:\n%s", n.Name, said)
	}
	if out, err := command(r.t.TempDir(), r.before, "cluster", "recover", "--data-dir", n.Dir); err == nil ||
		!strings.Contains(out, "never taken back") || strings.Contains(out, "goroutine") {
		r.t.Errorf("what is left of it is read as if it could be: %v\n%s", err, out)
	}
	r.step("what cannot go back is new again", n, r.after)
}

// same holds the replicas of each shard against one another while clients go on: one that two
// programs lead to different states after one entry has parted (D6).
func (r *rolling) same() {
	r.t.Helper()
	type at struct {
		shard int
		index uint64
	}
	digests, compared := make(map[at]string), make(map[int]bool)
	harness.Within(r.t, time.Minute, "replicas of every shard were seen at one index", func() error {
		for _, n := range r.cluster.Nodes {
			rs, err := n.Replicas()
			if err != nil {
				return err
			}
			for _, x := range rs {
				k, id := at{x.Shard, x.Applied}, n.Name+" "+x.Digest
				switch seen, digest, _ := strings.Cut(digests[k], " "); {
				case x.Applied == 0: // restored, and no entry has come that says how far
				case seen == "":
					digests[k] = id
				case digest != x.Digest:
					r.t.Fatalf("shard %d after entry %d: %s and %s", x.Shard, x.Applied, digests[k], id)
				case seen != n.Name:
					compared[x.Shard] = true
				}
			}
		}
		for shard := range 16 {
			if !compared[shard] {
				return fmt.Errorf("not of shard %d", shard)
			}
		}
		return nil
	})
}

// agree has all nodes compare what they hold. With clients that move, it would find something
// that differs at every moment.
func (r *rolling) agree() {
	r.t.Helper()
	if code, out, errs := harness.Dunlin(r.t, "cluster", "verify", "--data-dir", r.cluster.Nodes[r.steps%3].Dir); code != 0 {
		r.t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
}

// status is the cluster, as dunlin cluster status says.
type status struct {
	Level uint32 // 0: it does not say
	Nodes []node
}

type node struct {
	Name, Release string
	Newest        uint32 `json:"newest_level"` // 0: it does not say
}

func (r *rolling) status() (st status) {
	r.t.Helper()
	code, out, errs := harness.Dunlin(r.t, "cluster", "status", "-o", "json", "--data-dir", r.cluster.Nodes[0].Dir)
	if code != 0 {
		r.t.Fatalf("status: %d: %s", code, errs)
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		r.t.Fatal(err)
	}
	return st
}

// sleeper is a session that is not connected while the cluster is upgraded, and what has been
// published to it.
type sleeper struct {
	t    *testing.T
	sent []string
}

var asleep = mqtt.Connect{ClientID: []byte("sleeper"), SessionExpiry: 3600}

func (s *sleeper) sleep(n *harness.Node) {
	s.t.Helper()
	c := harness.Connect(s.t, n.MQTT, asleep)
	c.Subscribe("sleeper", 2)
	c.Disconnect()
	s.publish(n)
}

func (s *sleeper) publish(n *harness.Node) {
	s.t.Helper()
	c := harness.Connect(s.t, n.MQTT, mqtt.Connect{ClientID: []byte("lullaby"), SessionExpiry: 3600})
	for range 10 {
		payload := fmt.Sprint(len(s.sent))
		c.Publish("sleeper", payload, 2)
		s.sent = append(s.sent, payload)
	}
	c.Disconnect()
}

// wake has it come back: everything is there, once and in order, over as many connections as it
// takes on a busy machine.
func (s *sleeper) wake(c *harness.Cluster) {
	s.t.Helper()
	var got []string
	open := make(map[uint16]bool) // identifiers that await PUBREL
	for tries := 0; len(got) < len(s.sent) && tries < 20; tries++ {
		conn, err := harness.Attempt(s.t, c.Nodes[tries%3].MQTT, asleep)
		if err != nil {
			s.t.Log(err)
			c.WaitReady()
			continue
		}
		if !conn.Connack.SessionPresent {
			s.t.Fatal("the session is lost")
		}
		for len(got) < len(s.sent) || len(open) > 0 {
			p, err := conn.Next()
			if err != nil {
				s.t.Log(err)
				break
			}
			switch id := p.Publish.PacketID; p.Kind {
			case mqtt.PUBLISH:
				if !open[id] {
					open[id], got = true, append(got, string(p.Publish.Payload))
				}
				conn.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: id})
			case mqtt.PUBREL:
				delete(open, p.Ack.PacketID)
				conn.Send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: p.Ack.PacketID})
			}
		}
	}
	if !slices.Equal(got, s.sent) {
		s.t.Errorf("the sleeper was sent %v\nand got %v", s.sent, got)
	}
}
