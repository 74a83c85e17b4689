package chart

import (
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/client"
	"dunlin/e2e/chaos/history"
	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var (
	only = flag.String("chart.steps", ".", "steps to take, a regular `expression`")
	kept = flag.String("chart.history", "", "`folder` in which to keep what clients saw")
)

// step is something that happens to a cluster in service.
type step struct {
	name string
	do   func(l *lab)
}

// The images are of one source and two versions.
const (
	before = "image.tag=v1"
	after  = "image.tag=v2"
)

var steps = []step{
	{"helm test", func(l *lab) {
		l.run("helm", "-n", namespace, "test", release, "--timeout", "120s")
	}},
	{"a pod deleted by force", func(l *lab) {
		old := l.kubectl("get", "pod", release+"-1", "-o", "jsonpath={.metadata.uid}")
		l.kubectl("delete", "pod", release+"-1", "--force", "--grace-period", "0")
		l.eventually("another pod", time.Minute, func() error {
			now, err := l.try("kubectl", "-n", namespace, "get", "pod", release+"-1", "-o", "jsonpath={.metadata.uid}")
			if err == nil && now == old {
				err = fmt.Errorf("it is still the one that was deleted")
			}
			return err
		})
		l.whole(3)
	}},
	{"helm upgrade to another image", func(l *lab) {
		l.upgrade(3, after)
		if got := l.kubectl("exec", release+"-2", "--", "dunlin", "version"); !strings.HasPrefix(got, "dunlin v2 ") {
			l.t.Errorf("after the upgrade there runs %s", got)
		}
	}},
	{"backup", func(l *lab) {
		if out := l.kubectl("exec", release+"-1", "--", "dunlin", "cluster", "backup", "-"); len(out) < 1000 {
			l.t.Errorf("the backup has %d bytes", len(out))
		}
	}},
	{"out from 3 to 5", func(l *lab) { l.upgrade(5, after, "replicaCount=5") }},
	{"connections spread over 5", func(l *lab) {
		// Of these nobody comes back.
		at := l.address(release + "-0")
		for n := range crowd {
			harness.Connect(l.t, at, mqtt.Connect{ClientID: fmt.Appendf(nil, "crowd-%d", n), CleanStart: true})
		}
		out := l.kubectl("exec", release+"-0", "--", "dunlin", "cluster", "rebalance", "--connections", "--rate", "20/s")
		if !strings.Contains(out, release+"-0 asks ") {
			l.t.Errorf("of five nodes one has %d clients more than the others: %s", crowd, out)
		}
		l.eventually("all that are too many being gone", time.Minute, func() error {
			for _, n := range l.nodes() {
				if n.ToAsk > 0 || n.Clients > crowd/2 {
					return fmt.Errorf("%s has %d clients, and is to ask %d to go", n.Name, n.Clients, n.ToAsk)
				}
			}
			return nil
		})
	}},
	{"in from 5 to 3", func(l *lab) {
		if _, err := l.helm("upgrade", after, "replicaCount=3"); err == nil || !strings.Contains(err.Error(), "cluster remove dunlin-4 --wait") {
			l.t.Fatalf("nodes that hold replicas may be taken away: %v", err)
		}
		for _, node := range []string{"dunlin-4", "dunlin-3"} {
			l.kubectl("exec", release+"-0", "--", "dunlin", "cluster", "remove", node, "--wait", "--timeout", "4m")
		}
		l.upgrade(3, after, "replicaCount=3", "allowScaleInTo=3")
		l.kubectl("delete", "pvc", "data-dunlin-3", "data-dunlin-4")
	}},
	{"a node drained by hand, restarted, and taken back", func(l *lab) {
		l.kubectl("exec", release+"-0", "--", "dunlin", "cluster", "drain", release+"-2", "--rate", "5/s", "--timeout", "60s")
		l.kubectl("delete", "pod", release+"-2")
		l.eventually("the pod started anew", time.Minute, func() error {
			started, err := l.try("kubectl", "-n", namespace, "get", "pod", release+"-2", "-o", "jsonpath={.status.containerStatuses[0].started}")
			if err == nil && started != "true" {
				err = fmt.Errorf("started: %q", started)
			}
			return err
		})
		for _, n := range l.nodes() {
			if drained := n.Name == release+"-2"; (n.Drain != nil) != drained {
				l.t.Errorf("after the restart node %s is drained: %v, want %v", n.Name, n.Drain != nil, drained)
			}
		}
		l.kubectl("exec", release+"-0", "--", "dunlin", "cluster", "undrain", release+"-2")
		l.whole(3)
	}},
	{"kubectl drain of a machine", func(l *lab) {
		l.enterBy(release + "-0")
		one, other := "node"+l.machine(release+"-2"), "node"+l.machine(release+"-1")
		l.run("kubectl", "drain", one, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "120s")
		// Its pod waits for the machine, where its volume is, so no other pod may go.
		_, err := l.try("kubectl", "drain", other, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "15s")
		if err == nil || !strings.Contains(err.Error(), "disruption budget") {
			l.t.Errorf("two of three machines are drained at one time: %v", err)
		}
		l.run("kubectl", "uncordon", one, other)
		l.whole(3)
	}},
	{"helm rollback", func(l *lab) {
		l.run("helm", "-n", namespace, "rollback", release, "1")
		l.kubectl("rollout", "status", "statefulset/"+release, "--timeout", "300s")
		l.whole(3)
		if got := l.kubectl("exec", release+"-2", "--", "dunlin", "version"); !strings.HasPrefix(got, "dunlin v1 ") {
			l.t.Errorf("after the rollback there runs %s", got)
		}
	}},
	{"helm upgrade to an image that is not there, and back", func(l *lab) {
		if _, err := l.helm("upgrade", "image.tag=missing"); err != nil {
			l.t.Fatal(err)
		}
		l.eventually("a pod without image", time.Minute, func() error {
			why, err := l.try("kubectl", "-n", namespace, "get", "pod", release+"-2", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
			if err == nil && !strings.Contains(why, "ImagePull") {
				err = fmt.Errorf("the pod waits for %q", why)
			}
			return err
		})
		l.run("helm", "-n", namespace, "rollback", release)
		l.kubectl("rollout", "status", "statefulset/"+release, "--timeout", "300s")
		l.whole(3)
	}},
	{"a machine without power", func(l *lab) {
		l.enterBy(release + "-0")
		machine := l.machine(release + "-1")
		l.run(l.program, "node-stop", machine)
		l.pause(20 * time.Second)
		l.run(l.program, "node-start", machine)
		l.whole(3)
	}},
	{"a machine without network", func(l *lab) {
		l.enterBy(release + "-0")
		machine := l.machine(release + "-2")
		c := l.inside(machine, release+"-2")
		l.pause(2 * time.Second)
		l.run(l.program, "node-cut", machine)
		cut := l.rec.Now()
		l.pause(20 * time.Second)
		healed := l.rec.Now()
		l.run(l.program, "node-heal", machine)
		l.whole(3)
		var last, heard time.Duration // after the cut
		acknowledged := make(map[string]int)
		for _, e := range c.end() {
			switch {
			case e.Op == history.End && e.Invoke < healed:
				heard = max(heard, e.Invoke-cut)
			case e.Op != history.Publish || e.Outcome != history.OK:
			case e.Return < cut:
				acknowledged["before"]++
			case e.Return < healed:
				last = max(last, e.Return-cut)
				acknowledged["during"]++
			default:
				acknowledged["after"]++
			}
		}
		l.t.Logf("on the machine that was cut off, messages acknowledged: %v; the last one %v after the cut, the last answer of the node %v after it",
			acknowledged, last.Round(10*time.Millisecond), heard.Round(10*time.Millisecond))
		if heard < time.Second {
			l.t.Errorf("the publisher there was cut off from its node too")
		}
		if last > isolated || acknowledged["before"] == 0 || acknowledged["after"] == 0 {
			l.t.Errorf("the minority has to stop acknowledging within %v, and to go on when it is none any more", isolated)
		}
	}},
	{"a machine lost for good", func(l *lab) {
		l.enterBy(release + "-0")
		machine := l.machine(release + "-1")
		l.run(l.program, "node-stop", machine)
		l.run("kubectl", "delete", "node", "node"+machine)
		l.eventually("a pod that waits for its volume", 2*time.Minute, func() error {
			at, err := l.try("kubectl", "-n", namespace, "get", "pod", release+"-1", "-o", "jsonpath={.status.phase} {.spec.nodeName}")
			if err == nil && at != "Pending " {
				err = fmt.Errorf("it is %s", at)
			}
			return err
		})
		l.kubectl("delete", "pvc", "data-"+release+"-1", "--wait=false")
		l.kubectl("delete", "pod", release+"-1")
		l.whole(3)
		l.run(l.program, "node-start", machine)
	}},
	{"scaled to none and back", func(l *lab) {
		l.kubectl("scale", "statefulset", release, "--replicas", "0")
		l.kubectl("wait", "--for", "delete", "pod", "--selector", "app.kubernetes.io/name=dunlin", "--timeout", "120s")
		l.kubectl("scale", "statefulset", release, "--replicas", "3")
		l.whole(3)
	}},
	{"uninstalled, and installed on the same volumes", func(l *lab) {
		l.run("helm", "-n", namespace, "uninstall", release, "--wait", "--timeout", "120s")
		l.kubectl("wait", "--for", "delete", "pod", "--selector", "app.kubernetes.io/name=dunlin", "--timeout", "120s")
		l.install()
	}},
}

// crowd are clients that are connected to one node of five.
const crowd = 40

// isolated is how long a node that has lost the others may think that it has not: its
// lease ends after three seconds, and its connections after ten.
const isolated = 10 * time.Second

// pause lets clients go on for so long.
func (l *lab) pause(d time.Duration) { <-time.After(d) }

func (l *lab) install() {
	l.t.Helper()
	if _, err := l.helm("install", before); err != nil {
		l.t.Fatal(err)
	}
	l.whole(3)
}

// Nothing that an operator or a failure does to a release costs a message that was
// acknowledged, a session, or a will.
func TestChart(t *testing.T) {
	wanted := regexp.MustCompile(*only)
	l := newLab(t)
	began := time.Now()
	l.install()
	t.Logf("installed and whole after %v", time.Since(began).Round(time.Second))
	l.crossPods()

	rec := l.rec
	cs := crew(rec)
	settle(t, cs)
	for _, s := range steps {
		if !wanted.MatchString(s.name) {
			continue
		}
		from := rec.Now()
		rec.Fault(s.name, "", "")
		s.do(l)
		done := rec.Now()
		settle(t, cs)
		l.pause(2 * time.Second)
		gap := time.Duration(0)
		for _, c := range cs {
			if strings.HasPrefix(c.ID, "pub") {
				gap = max(gap, check.Gap(rec.History(), c.ID, from, rec.Now()))
			}
		}
		t.Logf("%-50s %6v; longest time without an acknowledgement %v", s.name, (done - from).Round(time.Second), gap.Round(10*time.Millisecond))
		if t.Failed() {
			break
		}
	}
	for _, c := range cs {
		c.Mute()
	}
	settle(t, cs)
	for _, c := range cs {
		await(t, c, "be drained", func() bool { return c.Drain(2 * time.Second) })
	}
	for _, c := range cs {
		c.Stop()
	}
	h := rec.History()
	if *kept != "" {
		if err := h.Write(*kept); err != nil {
			t.Error(err)
		}
	}
	o := check.DefaultOptions()
	o.WillBound, o.ExpiryBound, o.Late = time.Minute, time.Minute, 2*time.Minute
	for _, v := range check.History(h, o) {
		t.Error(v)
	}
	count := make(map[string]int)
	for _, e := range h.Events {
		switch {
		case e.Op == history.Publish && e.QoS > 0, e.Op == history.Connect:
			count[fmt.Sprintf("%s %s", e.Op, e.Outcome)]++
		case e.Op == history.Deliver:
			count["deliver"]++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%-16s %d", k, count[k])
	}
	if t.Failed() {
		t.Log(l.kubectl("get", "pods", "-o", "wide"))
		for n := range 3 {
			out, _ := l.try("kubectl", "-n", namespace, "logs", fmt.Sprintf("%s-%d", release, n), "--tail", "60")
			t.Log(out)
		}
	}
}

// crossPods has each node deliver what is published at each.
func (l *lab) crossPods() {
	l.t.Helper()
	var cs []*harness.Client
	for n := range 3 {
		c := harness.Connect(l.t, l.address(fmt.Sprintf("%s-%d", release, n)), mqtt.Connect{ClientID: fmt.Appendf(nil, "at-%d", n), CleanStart: true})
		c.Subscribe("cross/#", 1)
		cs = append(cs, c)
	}
	for from, p := range cs {
		p.Publish("cross/pods", fmt.Sprint(from), 1)
	}
	for at, c := range cs {
		got := make(map[string]bool)
		for len(got) < len(cs) {
			p := c.Expect(mqtt.PUBLISH)
			got[string(p.Publish.Payload)] = true
			c.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
		}
		l.t.Logf("node %d has delivered what was published at %d nodes", at, len(got))
	}
}

// crew are clients that come by the Service.
func crew(rec *history.Recorder) (cs []*client.Client) {
	way := []client.Node{{Name: "service", Addr: service + ":1883"}}
	add := func(id string, c client.Config) {
		c.ID, c.Seed, c.Nodes = id, uint64(len(cs)), way
		cs = append(cs, client.New(c, rec))
	}
	const long = time.Hour
	for n := range 3 {
		pub := fmt.Sprintf("pub-%d", n)
		add(pub, client.Config{
			Expiry: long, Every: 50 * time.Millisecond, QoS: []mqtt.QoS{1, 2}, Topics: []string{"t/" + pub + "/0", "t/" + pub + "/1"},
		})
		add(fmt.Sprintf("sub-%d", n), client.Config{Expiry: long, Filters: []client.Filter{{Filter: "t/#", QoS: 2}}})
		add(fmt.Sprintf("few-%d", n), client.Config{Expiry: long, Move: 7 * time.Second, Filters: []client.Filter{{Filter: "t/+/1", QoS: 1}}})
		add(fmt.Sprintf("witness-%d", n), client.Config{Expiry: long, Filters: []client.Filter{{Filter: "w/#", QoS: 2}}})
		add(fmt.Sprintf("mortal-%d", n), client.Config{
			Expiry: 3 * time.Second, Move: 4 * time.Second, Will: &client.Will{Topic: fmt.Sprintf("w/mortal-%d", n), QoS: 2},
		})
	}
	return cs
}

func settle(t *testing.T, cs []*client.Client) {
	t.Helper()
	for _, c := range cs {
		await(t, c, "settle", c.Settled)
	}
}

// patience is how long a client may take to come back.
const patience = 2 * time.Minute

func await(t *testing.T, c *client.Client, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("client %s does not %s within %v", c.ID, what, patience)
			return
		}
	}
}
