package report

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dunlin/cmd/dunlin/internal/load"
)

// told is what an observer hears in the order of a run.
func told() []load.Progress {
	return []load.Progress{
		{Phase: load.Connecting, Done: 250, Goal: 600, Connections: load.Connections{Wanted: 600, Connected: 250},
			Interval: load.Interval{Connected: 250, At: time.Second, Length: time.Second, Connects: 250}},
		{Phase: load.Warmup, Done: int64(time.Second), Goal: int64(2 * time.Second), Connections: load.Connections{Wanted: 600, Connected: 600},
			Total:    load.Counts{Sent: 10_000, Received: 9_990},
			Interval: load.Interval{Connected: 600, At: 3 * time.Second, Length: time.Second, Counts: load.Counts{Sent: 10_000, Received: 9_990}}},
		{Phase: load.Measure, Done: int64(12 * time.Second), Goal: int64(30 * time.Second), Connections: load.Connections{Wanted: 600, Connected: 600},
			Total: load.Counts{Sent: 1_140_000, Received: 1_139_981}, Check: load.Check{Complete: true, Lost: 19},
			Interval: load.Interval{Connected: 600, At: 16 * time.Second, Length: time.Second, Counts: load.Counts{Sent: 5000, Received: 4990},
				Latency: load.Summary{Count: 4990, P50: 412 * time.Microsecond, P99: 1910 * time.Microsecond, Max: 12 * time.Millisecond}}},
		{Phase: load.Measure, Done: int64(29 * time.Second), Goal: int64(30 * time.Second),
			Connections: load.Connections{Wanted: 600, Connected: 598, Lost: 2},
			Total:       load.Counts{Sent: 1_310_000, Received: 1_309_000, Errors: 3}, Check: load.Check{Complete: true, Lost: 1000, Duplicates: 2, Reordered: 1},
			Interval: load.Interval{Connected: 598, At: 33 * time.Second, Length: time.Second, Counts: load.Counts{Sent: 10_000, Received: 9_000},
				Latency: load.Summary{Count: 4990, P50: 412 * time.Microsecond, P99: 91 * time.Millisecond, Max: 120 * time.Millisecond}},
			Failures: []load.Failure{{What: "connection", Why: "closed by the broker\x1b[2J", Count: 2}}},
		{Phase: load.Draining, Connections: load.Connections{Wanted: 600, Connected: 598, Lost: 2},
			Interval: load.Interval{Connected: 598, At: 34 * time.Second, Length: time.Second}},
	}
}

// TestLive shows a run at two widths, and where nobody looks.
func TestLive(t *testing.T) {
	c := messages(30, 1).Config
	for name, width := range map[string]int{"live-wide.txt": 100, "live-narrow.txt": 40} {
		v := view{config: c}
		began := time.Unix(0, 0)
		var b strings.Builder
		for _, p := range told() {
			now := began.Add(p.Interval.At)
			v.take(p, now)
			for _, line := range v.lines(width, now) {
				b.WriteString(line + "\n")
				if n := utf8.RuneCountInString(line); n > width && width > 60 {
					t.Errorf("%d characters: %s", n, line)
				}
			}
			b.WriteString("\n")
		}
		golden(t, name, b.String())
	}
}

func TestLivePlain(t *testing.T) {
	var b strings.Builder
	l := NewLive(&b, messages(30, 1).Config)
	now := time.Unix(0, 0)
	l.now = func() time.Time { return now }
	for _, p := range told() {
		now = time.Unix(0, 0).Add(p.Interval.At)
		l.Observe(p)
		l.Observe(p) // too early for another
	}
	l.Close()
	golden(t, "live-plain.txt", b.String())
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]float64{9, 0, 1, 4, 8}, 4); got != "▁▁▄█" {
		t.Errorf("%q", got)
	}
	if got := sparkline([]float64{0, 0}, 4); got != "▁▁" {
		t.Errorf("%q", got)
	}
}
