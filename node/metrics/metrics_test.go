package metrics

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

//go:generate go test -run TestDocument -update

func TestDocument(t *testing.T) {
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != Markdown() {
		t.Error("docs/metrics.md is not what the table says: make gen")
	}
}

func TestTableKeepsToTheConventions(t *testing.T) {
	name := regexp.MustCompile(`^dunlin_[a-z]+(_[a-z]+)*$`)
	seen := make(map[string]bool)
	for _, m := range Table() {
		if seen[m.Name] {
			t.Errorf("%s stands twice", m.Name)
		}
		seen[m.Name] = true
		if !name.MatchString(m.Name) {
			t.Errorf("%s is not a name of ours", m.Name)
		}
		if total := strings.HasSuffix(m.Name, "_total"); total != (m.Type == prometheus.CounterValue) {
			t.Errorf("%s: counters end in _total and nothing else does", m.Name)
		}
		if m.Help == "" || strings.HasSuffix(m.Help, ".") || strings.Contains(m.Help, "|") {
			t.Errorf("%s: help %q", m.Name, m.Help)
		}
		for _, l := range m.Labels {
			if slices.Contains([]string{"client", "client_id", "user", "username", "topic", "filter"}, l) {
				t.Errorf("%s: a label %q grows with what clients do", m.Name, l)
			}
		}
	}
}

func TestRegistryExportsItsSources(t *testing.T) {
	reg := NewRegistry(
		func(emit Emit) { emit(Connections, 3) },
		func(emit Emit) {
			emit(MessagesReceived, 1, "0")
			emit(MessagesReceived, 2, "1")
		},
	)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	runtime := false
	for _, f := range families {
		runtime = runtime || strings.HasPrefix(f.GetName(), "go_")
		if !strings.HasPrefix(f.GetName(), "dunlin_") {
			continue
		}
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if len(got) != 2 || got["dunlin_connections"] != 3 || got["dunlin_messages_received_total"] != 3 || !runtime {
		t.Errorf("exported %v, runtime %v", got, runtime)
	}
}

func TestRegistryRefusesWhatTheTableDoesNotHold(t *testing.T) {
	for name, s := range map[string]Source{
		"unknown":      func(emit Emit) { emit(&Metric{Name: "dunlin_other"}, 1) },
		"labels":       func(emit Emit) { emit(MessagesReceived, 1) },
		"same twice":   func(emit Emit) { emit(Ready, 1); emit(Ready, 1) },
		"not UTF-8":    func(emit Emit) { emit(MessagesReceived, 1, "\xff") },
		"extra labels": func(emit Emit) { emit(Ready, 1, "x") },
	} {
		if _, err := NewRegistry(s).Gather(); err == nil {
			t.Errorf("%s: exported without an error", name)
		}
	}
}
