package fuzz

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var (
	seedFlag     = flag.Uint64("storm.seed", 0, "seed of the scripts; 0: a new one")
	durationFlag = flag.Duration("storm.duration", 15*time.Second, "how long scripts are played")
	clientsFlag  = flag.Int("storm.clients", 4, "scripts that are played at a time")
	replayFlag   = flag.String("storm.replay", "", "file of scripts to be played instead")
	profilesFlag = flag.String("storm.profiles", "", "folder for what was in the nodes' heaps before and after; else kept on failure")
)

func TestMain(m *testing.M) { harness.Main(m) }

// TestStorm plays the scripts of runs that have found something, and then those of a new
// seed.
func TestStorm(t *testing.T) {
	if *replayFlag != "" {
		play(t, scriptsOf(t, *replayFlag))
		return
	}
	kept, err := filepath.Glob(filepath.Join("testdata", "*.scripts"))
	if err != nil {
		t.Fatal(err)
	}
	old := scriptsOf(t, kept...)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-storm.seed=%d", seed)
	var number atomic.Uint64
	var once sync.Once
	var end time.Time
	play(t, func() *Script {
		once.Do(func() { end = time.Now().Add(*durationFlag) })
		if s := old(); s != nil {
			return s
		}
		if time.Now().After(end) {
			return nil
		}
		return Compose(seed, number.Add(1), nodes)
	})
}

// scriptsOf gives out the scripts of files, one after the other.
func scriptsOf(t *testing.T, files ...string) func() *Script {
	t.Helper()
	var all []*Script
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		scripts, err := ReadScripts(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, scripts...)
	}
	var at atomic.Int64
	return func() *Script {
		if i := int(at.Add(1)) - 1; i < len(all) {
			return all[i]
		}
		return nil
	}
}

const nodes = 3

// settings have what is left behind go soon.
const settings = `
connect-timeout: 2s
send-timeout: 5s
snapshot-log-size: 4MB
limits:
  max-session-expiry: 5s
  retained-messages: 1000
  queue-messages: 1000
proxy-protocol:
  wss: [127.0.0.0/8]
`

const rules = `
otherwise: allow
rules:
  - {deny: publish, topics: ["f/denied/#"]}
  - {deny: publish, topics: ["f/b"], qos: [2], clients: [f1]}
  - {deny: subscribe, topics: ["f/r/#"], clients: [f2, f3]}
`

// start starts the cluster, with every kind of listener.
func start(t *testing.T) *harness.Cluster {
	t.Helper()
	cert, key := harness.NewCA(t).Server("node")
	access := filepath.Join(t.TempDir(), "acl.yaml")
	if err := os.WriteFile(access, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("%stls: {cert: %s, key: %s}\nacl: {file: %s}\n", settings, cert, key, access)
	return harness.Start(t, harness.Options{Nodes: nodes, TLS: true, WS: true, Config: conf})
}

// play plays all that next gives out on a cluster of its own and holds it to P10.
func play(t *testing.T, next func() *Script) {
	harness.WatchMachine(t) // so that what a bystander suffers can be told from what the machine did
	c := start(t)
	for number := range uint64(60) { // so that what is made once is there
		if err := player(c).Play(Compose(0, number, nodes)); err != nil {
			t.Fatalf("script %d of seed 0: %v", number, err)
		}
	}
	p := player(c)
	var base []harness.Held
	for _, n := range c.Nodes {
		base = append(base, n.Held())
	}
	others := disturb(t, c)
	var recent trail
	found := storm(t, c, p, next, &recent)
	if err := errors.Join(found, others()); err != nil {
		t.Errorf("%v\n%s", err, recent.keep())
	}
	accepted, refused, answers := p.Counts()
	t.Logf("%d scripts: %d clients let in, %d told why not, %d packets from nodes", recent.count(), accepted, refused, answers)
	calm(t, c, base)
	if t.Failed() {
		t.Log(recent.keep())
	}
}

func player(c *harness.Cluster) *Player {
	p := &Player{Patience: 30 * time.Second}
	for _, n := range c.Nodes {
		p.Targets = append(p.Targets, Target{n.MQTT, n.MQTTS, n.WS, n.WSS})
	}
	return p
}

// storm plays scripts, several at a time, until there are no more or something is found.
func storm(t *testing.T, c *harness.Cluster, p *Player, next func() *Script, recent *trail) error {
	t.Helper()
	var (
		players sync.WaitGroup
		found   = make(chan error, *clientsFlag+1)
		stop    = make(chan struct{})
		ended   = make(chan struct{})
	)
	for range *clientsFlag {
		players.Go(func() {
			for s := next(); s != nil; s = next() {
				select {
				case <-stop:
					return
				default:
				}
				recent.note(s)
				if err := p.Play(s); err != nil {
					var text strings.Builder
					s.Write(&text)
					found <- fmt.Errorf("%w, in\n%.4000s", err, text.String())
					return
				}
			}
		})
	}
	go func() {
		players.Wait()
		close(ended)
	}()
	var err error
	for watch := time.NewTicker(time.Second); err == nil; {
		select {
		case err = <-found:
		case <-ended:
			select {
			case err = <-found:
			default:
			}
			watch.Stop()
			return errors.Join(err, sound(c))
		case <-watch.C:
			err = sound(c)
		}
	}
	close(stop)
	<-ended
	return err
}

// sound says whether all nodes run and tell of no panic. In the end the harness looks for
// panics that were counted, too.
func sound(c *harness.Cluster) error {
	for _, n := range c.Nodes {
		if !n.Running() {
			return fmt.Errorf("%s has ended", n.Name)
		}
		if strings.Contains(n.Log(), `msg="panic in event loop"`) {
			return fmt.Errorf("%s has panicked", n.Name)
		}
	}
	return nil
}

// disturb connects bystanders, of whom stop says what they have suffered.
func disturb(t *testing.T, c *harness.Cluster) (stop func() error) {
	t.Helper()
	const patience, pace = 60 * time.Second, 50 * time.Millisecond
	end, stopped := make(chan struct{}), make(chan struct{})
	var publishers, subscribers sync.WaitGroup
	var all []*bystander
	errs := make(chan error, 100)
	for i, from := range c.Nodes {
		to := c.Nodes[(i+1)%len(c.Nodes)]
		for _, qos := range []mqtt.QoS{1, 2} {
			for _, stored := range []bool{false, true} {
				b := newBystander(t, fmt.Sprintf("%d-%d-%v", i, qos, stored), from.MQTT, to.MQTT, qos, stored, patience)
				all = append(all, b)
				publishers.Go(func() { errs <- b.publish(end, pace) })
				subscribers.Go(func() { errs <- b.receive(stopped) })
			}
		}
	}
	return func() error {
		close(end)
		publishers.Wait()
		close(stopped)
		subscribers.Wait()
		close(errs)
		var err error
		for e := range errs {
			err = errors.Join(err, e)
		}
		counts := make([]uint64, 0, len(all))
		for _, b := range all {
			counts = append(counts, b.acked.Load())
			b.pub.Disconnect()
			b.sub.Disconnect()
		}
		t.Logf("messages of bystanders: %d to %d each", slices.Min(counts), slices.Max(counts))
		if slices.Min(counts) == 0 {
			err = errors.Join(err, errors.New("a bystander has published nothing"))
		}
		return err
	}
}

// calm holds the cluster to what it was before, and to its work.
func calm(t *testing.T, c *harness.Cluster, base []harness.Held) {
	t.Helper()
	held := make([]harness.Held, len(c.Nodes))
	t.Cleanup(func() {
		if t.Failed() || *profilesFlag != "" {
			where, err := writeProfiles(*profilesFlag, c, base, held)
			t.Log("heaps before and after:", where, err)
		}
	})
	for i, n := range c.Nodes {
		harness.Within(t, 90*time.Second, n.Name+" holds what it held before", func() error {
			m := n.Metrics()
			if m["dunlin_store_retained_messages"] > 0 {
				clean(t, n)
			}
			for _, name := range []string{
				"connections", "connections_opening", "tls_handshakes", "subscriptions", "pending_publishes", "withheld_answers",
				"wills_under_way", "lent_bytes", "store_sessions", "store_retained_messages",
			} {
				v, there := m["dunlin_"+name]
				if !there {
					t.Fatalf("there is no metric %s", name)
				}
				if v != 0 {
					return fmt.Errorf("%s: %v", name, v)
				}
			}
			held[i] = n.Held()
			for _, v := range check.Residue(sample(n, base[i]), sample(n, held[i]), slack()) {
				return errors.New(v.String())
			}
			return nil
		})
	}
	for i, n := range c.Nodes {
		to := c.Nodes[(i+1)%len(c.Nodes)]
		newcomer := harness.Connect(t, n.MQTT, mqtt.Connect{ClientID: []byte("f0"), SessionExpiry: 1})
		newcomer.Subscribe("f/#", 2)
		pub := harness.Connect(t, to.MQTT, mqtt.Connect{CleanStart: true})
		pub.Publish("f/a", "after", 2)
		newcomer.ExpectMessage("f/a", "after")
		newcomer.Disconnect()
		pub.Disconnect()
	}
	// Shards forget who published for 20 minutes on, so that their replicas may never be at
	// one entry at one time, as WaitAgree wants it. This compares what they were at the same one.
	if code, out, errs := harness.Dunlin(t, "cluster", "verify", "--data-dir", c.Nodes[0].Dir); code != 0 || out != "" || errs != "" {
		t.Errorf("dunlin cluster verify: exit code %d: %s%s", code, out, errs)
	}
}

// clean clears what is retained, of which wills may leave more at any time.
func clean(t *testing.T, n *harness.Node) {
	t.Helper()
	c := harness.Connect(t, n.MQTT, mqtt.Connect{CleanStart: true})
	c.Subscribe("#", 0)
	for {
		m, err := c.Poll(time.Second)
		if err != nil {
			break
		}
		if m.Kind == mqtt.PUBLISH && m.Publish.Retain && len(m.Publish.Payload) > 0 {
			c.Send(&mqtt.Publish{Topic: m.Publish.Topic, Retain: true})
		}
	}
	c.Disconnect()
}

// sample is what a node holds, but for what it tells of in its metrics that goes later: the memory of
// the shards' logs, until these are cut, and publishers, whose QoS 2 messages are remembered for a
// while.
func sample(n *harness.Node, h harness.Held) check.Sample {
	const publisher = 128 // bytes, with its part of a map and of the list of those that are to go
	told := uint64(h.Metrics["dunlin_raft_log_memory_bytes"] + publisher*h.Metrics["dunlin_store_publishers"])
	return check.Sample{Node: n.Name, Goroutines: h.Goroutines, Files: h.Files, Heap: h.Heap - min(told, h.Heap), Disk: h.Disk}
}

// slack is as much as the logs of the shards may take on disk before they are cut, and in memory
// what is kept for the next use: of emptied batches between loops 16 MB, of frames to peers 8 MB.
func slack() check.Slack {
	s := check.DefaultSlack()
	s.Goroutines, s.Files, s.Disk, s.Heap = 5, 5, 1<<30, 24<<20
	return s
}

// writeProfiles writes what was in the nodes' heaps before and after to files in dir, or in a folder
// of their own, and says where: go tool pprof -base shows what has grown.
func writeProfiles(dir string, c *harness.Cluster, base, held []harness.Held) (where string, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "dunlin-storm-*.heaps"); err != nil {
			return "", err
		}
	}
	for i, n := range c.Nodes {
		for when, h := range map[string]harness.Held{"before": base[i], "after": held[i]} {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, n.Name+"-"+when+".pb.gz"), []byte(h.Profile), 0o600))
		}
	}
	return dir, err
}

// trail is the scripts that were played last.
type trail struct {
	mu    sync.Mutex
	all   int
	last  [1000]*Script
	saved string
}

func (r *trail) note(s *Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[r.all%len(r.last)] = s
	r.all++
}

func (r *trail) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// keep writes them to a file, once, and says where it is.
func (r *trail) keep() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != "" {
		return r.saved
	}
	f, err := os.CreateTemp("", "dunlin-storm-*.scripts")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	for i := max(0, r.all-len(r.last)); i < r.all; i++ {
		r.last[i%len(r.last)].Write(f)
	}
	r.saved = "play them again: -storm.replay=" + f.Name()
	return r.saved
}
