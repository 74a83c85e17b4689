package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/load/floor"
	"dunlin/cmd/dunlin/internal/preflight"
	"dunlin/cmd/dunlin/internal/report"
)

// TestBenchShows runs a short load against the bare relay, and reads what it prints
// and writes.
func TestBenchShows(t *testing.T) {
	t.Parallel()
	relay, err := floor.Listen("127.0.0.1:0", floor.Pairs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		relay.Run(ctx)
		close(ended)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	page := filepath.Join(t.TempDir(), "page.html")
	args := []string{"bench", "p2p", "-h", relay.Addr().String(), "-c", "2", "-V", "4", "--prefix", "", "-t", "load/%i",
		"--limit", "60", "--rate", "200", "-P", "secret", "-u", "user", "--report", page}
	code, stdout, stderr := dunlin(t, "", append(args, "-o", "json")...)
	if code != exitDone {
		t.Fatalf("exit code %d, says %q and %q", code, stdout, stderr)
	}
	d, err := report.Read(strings.NewReader(stdout))
	if err != nil {
		t.Fatal(err)
	}
	if !d.Passed || d.Check.Delivered != 60 || len(d.Limits) < 5 || d.Environment.Processors == 0 {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(stderr, "of 4 connected") {
		t.Errorf("no progress in %q", stderr)
	}
	html, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(html), "</html>") {
		t.Errorf("page of %d bytes: %v", len(html), err)
	}
	if strings.Contains(string(html)+stdout, "secret") {
		t.Error("the password is told")
	}
}

// TestBenchFailsAloud: a run that does not pass says why, in its exit code too.
func TestBenchFailsAloud(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := dunlin(t, "", "bench", "conn", "-h", "127.0.0.1:1", "-c", "2", "--quiet")
	if code != exitFailed || !strings.HasPrefix(stdout, "FAILED") || !strings.HasPrefix(stderr, "dunlin: the load test failed: ") {
		t.Errorf("exit code %d, says %q and %q", code, stdout, stderr)
	}
}

func TestBenchDryRun(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := dunlin(t, "", "bench", "conn", "-h", "127.0.0.1:1", "-c", "10", "--dry-run")
	if code != exitDone || !strings.Contains(stdout, "open files of a process: ") || stderr != "" {
		t.Errorf("exit code %d, says %q and %q", code, stdout, stderr)
	}
}

func TestBenchPlan(t *testing.T) {
	t.Parallel()
	facts := preflight.Facts{System: "linux", OpenHard: 20_000}
	for _, c := range []struct {
		name   string
		config load.Config
		want   preflight.Plan
	}{
		{"held", load.Config{Verb: load.Conn, Brokers: []string{"127.0.0.1:1883", "127.0.0.1:1884"}, Subscribers: 57_000, Pending: 256},
			preflight.Plan{Connections: 57_000, Processes: 3, Files: 19_064, PerSource: 11_400, Targets: 2, Local: true, AtOnce: 256, Busy: 256, Own: ownBytes}},
		{"held, with messages", load.Config{Verb: load.Conn, Brokers: []string{"192.0.2.1:1883"}, Subscribers: 10_000, Each: 10},
			preflight.Plan{Connections: 10_000, Processes: 1, Files: 10_064, PerSource: 10_000, Targets: 1, Busy: 1000, Own: ownBytes}},
		{"at a rate", load.Config{Verb: load.P2P, Brokers: []string{"localhost:1883"}, Publishers: 500, Subscribers: 500, Rate: 100},
			preflight.Plan{Connections: 1000, Processes: 1, Files: 1064, PerSource: 1000, Targets: 1, Local: true, Busy: 100, Own: ownBytes}},
	} {
		if got := benchPlan(facts, c.config); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, show(got), show(c.want))
		}
	}
}

func show(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
