package load

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"dunlin/cmd/dunlin/internal/load/floor"
	"dunlin/proto/mqtt"
)

// TestMain is also the load's process where a test has several.
func TestMain(m *testing.M) {
	if os.Getenv("DUNLIN_TEST_LOAD_WORKER") != "" {
		if err := Work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// relay starts a bare relay, which names clients as the harness of the benchmarks
// does: the prefix is empty.
func relay(t *testing.T, topology floor.Topology) Config {
	t.Helper()
	r, err := floor.Listen("127.0.0.1:0", topology)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		r.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return Config{
		Brokers: []string{r.Addr().String()}, Version: mqtt.V311, Clean: true, KeepAlive: time.Minute, Size: 128,
		Topic: "bench", Window: 20, Batch: 10, Limit: 2000,
		PIDs: []int{os.Getpid()}, Patience: 10 * time.Second,
	}
}

// mustRun runs c, which must leave nothing to be desired.
func mustRun(t *testing.T, c Config, o Options) *Result {
	t.Helper()
	r, err := Run(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	if b := r.Broken(); b != nil {
		t.Errorf("%q; %+v", b, r.Failures)
	}
	return r
}

// TestRelay drives the bare relay with every kind of load for a moment: all that is
// sent comes, once.
func TestRelay(t *testing.T) {
	for _, s := range []struct {
		name     string
		topology floor.Topology
		set      func(*Config)
	}{
		{"fan-in", floor.Every, func(c *Config) { c.Verb, c.Publishers, c.Subscribers = FanIn, 20, 1 }},
		{"fan-out", floor.Every, func(c *Config) { c.Verb, c.Publishers, c.Subscribers = FanOut, 1, 30 }},
		{"p2p 0", floor.Pairs, func(c *Config) { c.Verb, c.Publishers, c.Subscribers = P2P, 20, 20 }},
		{"p2p 1", floor.Pairs, func(c *Config) { c.Verb, c.Publishers, c.Subscribers, c.QoS = P2P, 20, 20, 1 }},
		{"p2p 1, 5.0", floor.Pairs, func(c *Config) { c.Verb, c.Publishers, c.Subscribers, c.QoS, c.Version = P2P, 20, 20, 1, mqtt.V5 }},
		{"p2p 2", floor.Pairs, func(c *Config) { c.Verb, c.Publishers, c.Subscribers, c.QoS = P2P, 20, 20, 2 }},
		{"share 1", floor.Share, func(c *Config) { c.Verb, c.Publishers, c.Subscribers, c.QoS = ShareSub, 20, 4, 1 }},
		{"rate", floor.Pairs, func(c *Config) {
			c.Verb, c.Publishers, c.Subscribers, c.QoS, c.Batch, c.Window, c.Rate, c.Limit = P2P, 20, 20, 1, 1, 1000, 5000, 500
		}},
		{"uneven limit", floor.Pairs, func(c *Config) { c.Verb, c.Publishers, c.Subscribers, c.QoS, c.Limit = P2P, 7, 7, 1, 1001 }},
		{"pub", floor.Pairs, func(c *Config) { c.Verb, c.Publishers, c.QoS = Pub, 5, 1 }},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := relay(t, s.topology)
			s.set(&c)
			r := mustRun(t, c, Options{})
			if r.Total.Sent != c.Limit || r.End != EndLimit || c.Verb != Pub && r.Check.Delivered != c.Limit*uint64(c.copies()) {
				t.Errorf("%s %+v %+v", r.End, r.Total, r.Check)
			}
			if r.Connections.Held != c.total() || r.Brokers[0].CPU <= 0 || r.Load[0].CPU <= 0 {
				t.Errorf("%+v %+v %+v", r.Connections, r.Brokers, r.Load)
			}
			if c.QoS > 0 && r.Total.Acked != c.Limit {
				t.Errorf("%d acknowledged", r.Total.Acked)
			}
		})
	}
}

// TestChurn has clients come and go, and subscribe and unsubscribe.
func TestChurn(t *testing.T) {
	for _, v := range []Verb{Conn, Sub} {
		t.Run(string(v), func(t *testing.T) {
			c := relay(t, floor.Pairs)
			c.Verb, c.Subscribers, c.Churn, c.Topic, c.QoS, c.Limit = v, 8, true, "churn/%i/%n/+", 1, 0
			c.Duration, c.Pending = 200*time.Millisecond, 3
			r := mustRun(t, c, Options{})
			if r.Connections.Connected != 8 {
				t.Errorf("%d of 8 clients had a turn", r.Connections.Connected)
			}
			if r.Rounds == 0 || r.Latency.Round.Count() != r.Rounds {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestSeveralProcesses splits p2p over three: what each has seen adds up.
func TestSeveralProcesses(t *testing.T) {
	c := relay(t, floor.Pairs)
	c.Verb, c.Publishers, c.Subscribers, c.QoS, c.Processes, c.Interval = P2P, 10, 10, 1, 3, 20*time.Millisecond
	t.Setenv("DUNLIN_TEST_LOAD_WORKER", "1")
	told := 0
	c.Rate, c.Limit, c.Batch = 5000, 1000, 1
	r := mustRun(t, c, Options{Worker: []string{os.Args[0]}, Observe: func(Progress) { told++ }})
	if len(r.Load) != 4 || r.Connections.Held != 20 || r.Check.Delivered != 1000 || r.Latency.Ack.Count() == 0 {
		t.Errorf("%+v", r)
	}
	if told == 0 || len(r.Series) != told {
		t.Errorf("%d intervals, %d told", len(r.Series), told)
	}
}

// TestIntervals: no interval is of two phases, and together they are the whole run.
func TestIntervals(t *testing.T) {
	t.Parallel()
	began := ownTime()
	c := relay(t, floor.Pairs)
	c.Verb, c.Publishers, c.Subscribers, c.Rate = P2P, 2, 2, 200
	c.Topic, c.Interval, c.Warmup, c.Duration = "load/%i", time.Second, 200*time.Millisecond, 400*time.Millisecond
	r := mustRun(t, c, Options{})
	var sum Counts
	var cpu time.Duration
	phases := make(map[Phase]time.Duration)
	for _, i := range r.Series {
		sum.Add(i.Counts)
		cpu += i.BrokerCPU
		phases[i.Phase] += i.Length
	}
	if sum.Sent != r.Total.Sent || cpu > ownTime()-began {
		t.Errorf("%+v of %+v, %v of processor time", sum, r.Total, cpu)
	}
	if d := phases[Measure]; d < 400*time.Millisecond || phases[Warmup] < 200*time.Millisecond {
		t.Errorf("%v", phases)
	}
}

// TestInterrupted ends a run early, which still has its result.
func TestInterrupted(t *testing.T) {
	c := relay(t, floor.Pairs)
	c.Verb, c.Publishers, c.Subscribers, c.Duration, c.Limit = P2P, 2, 2, time.Hour, 0
	ctx, cancel := context.WithCancel(t.Context())
	c.Interval = 30 * time.Millisecond
	measuring := 0
	r, err := Run(ctx, c, Options{Observe: func(p Progress) {
		if p.Phase == Measure && p.Interval.Received > 0 {
			measuring++
		}
		if measuring == 3 {
			cancel()
		}
	}})
	if err != nil || r.End != EndInterrupted || r.Messages.Received == 0 || r.Broken() != nil {
		t.Errorf("%v, %s %q %+v %+v %+v", err, r.End, r.Broken(), r.Messages, r.Check, r.Total)
	}
}

// TestNobodyThere counts connects that fail, and ends.
func TestNobodyThere(t *testing.T) {
	c := relay(t, floor.Pairs)
	c.Verb, c.Subscribers, c.Brokers = Conn, 5, []string{"127.0.0.1:1"}
	r, err := Run(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Connections.Held != 0 || r.Broken() == nil || len(r.Failures) != 1 || r.Failures[0].Count != 5 || r.Failures[0].What != "connect" {
		t.Errorf("%+v", r)
	}
}
