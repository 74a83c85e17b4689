package report

import (
	"fmt"
	"math"
	"testing"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/load"
)

func texts(s scale) string {
	var out []string
	for _, t := range s.ticks {
		out = append(out, fmt.Sprintf("%s@%.2f", t.text, t.at))
	}
	return fmt.Sprint(out)
}

func TestScales(t *testing.T) {
	for _, c := range []struct {
		name string
		s    scale
		want string
	}{
		{"from zero", fromZero(9700, figure.Short), "[0@0.00 2k@0.20 4k@0.40 6k@0.60 8k@0.80 10k@1.00]"},
		{"from zero, little", fromZero(0.33, figure.Short), "[0@0.00 0.1@0.25 0.2@0.50 0.3@0.75 0.4@1.00]"},
		{"decades", decades(2.4e5, 4.1e6, nanoseconds), "[200 µs@0.00 500 µs@0.28 1 ms@0.50 2 ms@0.72 5 ms@1.00]"},
		{"many decades", decades(1e3, 2e9, nanoseconds), "[1 µs@0.00 10 µs@0.16 100 µs@0.32 1 ms@0.48 10 ms@0.63 100 ms@0.79 1 s@0.95]"},
		{"one value", decades(1e6, 1e6, nanoseconds), "[1 ms@0.00 2 ms@0.30 5 ms@0.70 10 ms@1.00]"},
		{"clock", clock(34), "[0:00@0.00 0:05@0.15 0:10@0.29 0:15@0.44 0:20@0.59 0:25@0.74 0:30@0.88]"},
		{"clock of hours", clock(7200), "[0:00@0.00 15:00@0.12 30:00@0.25 45:00@0.38 1:00:00@0.50 1:15:00@0.62 1:30:00@0.75 1:45:00@0.88 2:00:00@1.00]"},
		{"nines", nines(20_000), "[0@0.00 90 %@0.25 99 %@0.50 99.9 %@0.75 99.99 %@1.00]"},
	} {
		if got := texts(c.s); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		for _, v := range []float64{c.s.least, c.s.most} {
			if at := c.s.place(v); math.IsNaN(at) || at < -1e-9 || at > 1+1e-9 {
				t.Errorf("%s: %v is at %v", c.name, v, at)
			}
		}
	}
}

// TestPoints: what many intervals are drawn as keeps their sums and their worst.
func TestPoints(t *testing.T) {
	var series []load.Interval
	for i := range 2000 {
		v := load.Interval{At: time.Duration(i+1) * time.Second, Length: time.Second, Phase: load.Measure, Counts: load.Counts{Sent: 100}}
		if i < 3 {
			v.Phase = load.Warmup
		}
		v.Latency = load.Summary{Count: 1, P50: time.Millisecond, P99: 2 * time.Millisecond, Max: 3 * time.Millisecond}
		if i == 777 {
			v.Latency.P99, v.Latency.Max = time.Second, 2*time.Second
		}
		series = append(series, v)
	}
	got := points(series)
	if len(got) > mostPoints+1 || got[0].phase != load.Warmup || got[1].phase != load.Measure {
		t.Fatalf("%d points, %v, %v", len(got), got[0].phase, got[1].phase)
	}
	worst, last := 0.0, 0.0
	for _, p := range got {
		worst = max(worst, p.p99)
		if p.sent != 100 || p.p50 != 1e6 || p.at <= last {
			t.Errorf("%+v", p)
		}
		last = p.at
	}
	if worst != 1e9 || last != 2000 {
		t.Errorf("worst %v, last at %v", worst, last)
	}
}

// TestMoments: what a moment at the end of a phase held is not drawn by itself.
func TestMoments(t *testing.T) {
	got := points([]load.Interval{
		{At: time.Second, Length: time.Second, Phase: load.Measure, Counts: load.Counts{Sent: 100}},
		{At: 1001 * time.Millisecond, Length: time.Millisecond, Phase: load.Draining, Counts: load.Counts{Sent: 50}},
	})
	if len(got) != 1 || got[0].phase != load.Measure || got[0].sent < 149 || got[0].sent > 150 {
		t.Errorf("%+v", got)
	}
}

// TestConnectTimes: the bars hold every sample once.
func TestConnectTimes(t *testing.T) {
	d := connections()
	c, ok := connectTimes([]run{{Document: d}})
	if !ok {
		t.Fatal("no chart")
	}
	sum := 0.0
	for _, n := range c.series[0].ys {
		sum += n
	}
	if uint64(sum) != d.Latency.Connect.Count() {
		t.Errorf("%v of %d", sum, d.Latency.Connect.Count())
	}
}

// TestPercentiles: the line of a distribution is its quantiles.
func TestPercentiles(t *testing.T) {
	d := messages(2, 1)
	c, _ := percentiles([]run{{Document: d}})
	for i, x := range c.xs {
		if c.named(x) == "99 %" && c.series[0].ys[i] != float64(d.Latency.Delivery.Quantile(0.99)) {
			t.Errorf("p99 is drawn at %v, not %v", c.series[0].ys[i], d.Latency.Delivery.Quantile(0.99))
		}
	}
}
