package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/report"
)

func TestBenchReport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a.json", "b.json"} {
		h := load.NewHistogram()
		h.Record(time.Millisecond)
		r := load.Result{Config: load.Config{Verb: load.Conn, Subscribers: 10}, Latency: load.Latencies{Connect: h}}
		r.Connections = load.Connections{Wanted: 10, Connected: 10, Held: 10}
		f, err := os.Create(path(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := report.New(r, "test", nil, report.Environment{}, nil).WriteJSON(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	code, stdout, stderr := dunlin(t, "", "bench", "report", path("a.json"))
	if code != exitDone || !strings.Contains(stdout, "10 of 10 connected") || stderr != "" {
		t.Errorf("exit code %d, says %q and %q", code, stdout, stderr)
	}
	code, stdout, stderr = dunlin(t, "", "bench", "report", path("a.json"), path("b.json"), "-o", path("c.html"))
	page, err := os.ReadFile(path("c.html"))
	if code != exitDone || stdout+stderr != "" || err != nil || !strings.Contains(string(page), "b.json") {
		t.Errorf("exit code %d, says %q and %q, page %d bytes: %v", code, stdout, stderr, len(page), err)
	}
	if err := os.WriteFile(path("bad.json"), []byte(`{"schema": 7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = dunlin(t, "", "bench", "report", path("bad.json"))
	if code != exitFailed || !strings.Contains(stderr, "bad.json: report: unknown schema 7") {
		t.Errorf("exit code %d, says %q", code, stderr)
	}
	if code, _, _ = dunlin(t, "", "bench", "report"); code != exitUsage {
		t.Errorf("without a file: exit code %d", code)
	}
}
