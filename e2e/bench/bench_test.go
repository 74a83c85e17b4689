package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"dunlin/e2e/harness"
)

var (
	quick      = flag.Bool("quick", false, "one short round, to see that it works")
	shardsFlag = flag.Int("shards", 16, "parts that session state is split into, in BenchmarkEndToEnd")
	rowsFlag   = flag.String("rows", "", "only the rows of BenchmarkEndToEnd with this in their name")
)

func TestMain(m *testing.M) { harness.Main(m) }

// sample is what one run of the load tester says (dunlin bench --output json).
type sample struct {
	Messages struct {
		Received int `json:"received"`
	} `json:"messages"`
	Rounds  int `json:"rounds"`
	Latency struct {
		Delivery distribution `json:"delivery"`
	} `json:"latency"`
	Brokers []struct {
		CPU time.Duration `json:"cpu_ns"`
	} `json:"brokers"`
}

type distribution struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// perMessage is the processor time of one delivery, or of one round of clients that
// come and go, in microseconds.
func (s sample) perMessage() float64 {
	var cpu time.Duration
	for _, b := range s.Brokers {
		cpu += b.CPU
	}
	return float64(cpu) / float64(time.Microsecond) / float64(max(s.Messages.Received, s.Rounds, 1))
}

func (s sample) median() float64 {
	return float64(s.Latency.Delivery.P50) / float64(time.Microsecond)
}

// BenchmarkEndToEnd measures every row on every broker, in turn and several
// times, and prints the medians. What is lost or comes twice fails it.
func BenchmarkEndToEnd(b *testing.B) {
	rounds, interval := 3, 1500*time.Millisecond
	if *quick {
		rounds, interval = 1, 300*time.Millisecond
	}
	relays := map[string]server{}
	for _, r := range rows {
		if _, ok := relays[r.relay]; !ok {
			relays[r.relay] = floor(b, r.relay)
		}
	}
	clusters := map[int]server{1: dunlin(b, 1), 2: dunlin(b, 2), 3: dunlin(b, 3)}
	var debian *server
	if path, ok := harness.FindTool("mosquitto"); ok {
		s := mosquitto(b, path)
		debian = &s
	} else {
		b.Log("mosquitto is left out: Debian package mosquitto")
	}

	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "CPU us per delivered message\tfloor\tmosquitto\tdunlin\tx floor\tmust x\tgoal x\treached\t")
	for _, r := range rows {
		if !strings.Contains(r.name, *rowsFlag) {
			continue
		}
		if r.nodes == 3 && !clusters[3].replicated {
			b.Logf("%s is left out: shards are not replicated", r.name)
			continue
		}
		var relay, mosq, ours []sample
		for range rounds {
			relay = append(relay, run(b, r.scenario, relays[r.relay], interval))
			ours = append(ours, run(b, r.scenario, clusters[r.nodes], interval))
			if debian != nil && r.nodes == 1 {
				mosq = append(mosq, run(b, r.scenario, *debian, interval))
			}
		}
		line(b, table, r.name, r.target, relay, mosq, ours, sample.perMessage)
		if r.latency != nil {
			line(b, table, "the same: median latency, us", *r.latency, relay, mosq, ours, sample.median)
		}
	}
	table.Flush()
	fmt.Fprintf(os.Stdout, "\n%s\n", out.String())
}

// line adds a line of the table: the medians of what value says of the samples.
func line(b *testing.B, table *tabwriter.Writer, name string, t target, relay, mosq, ours []sample, value func(sample) float64) {
	base, us := median(relay, value), median(ours, value)
	times := us / base
	theirs := "-"
	if len(mosq) > 0 {
		theirs = fmt.Sprintf("%.2f", median(mosq, value))
	}
	must, goal := "-", "-"
	if t != (target{}) {
		must, goal = fmt.Sprintf("%.1f", t.mustTimes()), fmt.Sprintf("%.1f", t.goalTimes())
	}
	fmt.Fprintf(table, "%s\t%.2f\t%s\t%.2f\t%.1f\t%s\t%s\t%s\t\n", name, base, theirs, us, times, must, goal, t.verdict(times))
	b.ReportMetric(times, strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ,:>", r) {
			return -1
		}
		return r
	}, name)+"-x")
}

func median(ss []sample, value func(sample) float64) float64 {
	var vs []float64
	for _, s := range ss {
		vs = append(vs, value(s))
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}

// run has the load tester, a process of its own, drive a broker. It fails if anything
// is lost, or comes twice or out of order.
func run(b *testing.B, scenario string, s server, interval time.Duration) (out sample) {
	b.Helper()
	args := append([]string{"bench"}, strings.Fields(loads[scenario])...)
	args = append(args, "--output", "json", "--quiet", "--host", s.subscribe, "--pid", strings.Join(numbers(s.pids), ","),
		"--version", "4", "--prefix", "", "--connrate", "0", "--warmup", (interval / 5).String(), "--duration", interval.String())
	if publishes := args[1] != "conn" && args[1] != "sub"; publishes {
		args = append(args, "--publish-host", s.publish, "--size", strconv.Itoa(payload))
	}
	cmd := exec.Command(harness.Binary(b), append(args, s.login...)...)
	var text, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &complaint
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v: %s", cmd, err, complaint.String())
	}
	if err := json.Unmarshal(text.Bytes(), &out); err != nil {
		b.Fatalf("%v: %v: %s", cmd, err, text.String())
	}
	return out
}
