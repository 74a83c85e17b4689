package charts

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
)

var (
	metric = regexp.MustCompile(`dunlin_[a-z_]+`)
	listed = regexp.MustCompile("(?m)^\\| `(dunlin_[a-z_]+)` \\| ([a-z]+) ")
)

// expressions are those of the alerts and the dashboard.
func expressions(t *testing.T, all objects) []string {
	t.Helper()
	var out []string
	for _, g := range at(all["PrometheusRule/plant-seven"].tree, "spec", "groups").([]any) {
		for _, r := range at(g, "rules").([]any) {
			out = append(out, at(r, "expr").(string))
			if at(r, "alert") == "More" {
				continue // of the values
			}
			if at(r, "labels", "severity") == nil || at(r, "annotations", "summary") == nil {
				t.Errorf("alert %v has no severity or no summary", at(r, "alert"))
			}
			if !strings.Contains(at(r, "expr").(string), `namespace="mqtt"`) {
				t.Errorf("alert %v is of all releases", at(r, "alert"))
			}
		}
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(configMap(t, all, "plant-seven-dashboard").Data["dunlin.json"]), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d shows nothing", p.ID)
		}
		for _, e := range p.Targets {
			out = append(out, e.Expr)
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d expressions", len(out))
	}
	return out
}

// What is watched is what the broker counts.
func TestAlertsAndDashboardUseMetricsThatExist(t *testing.T) {
	b, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	kind := make(map[string]string)
	for _, m := range listed.FindAllStringSubmatch(string(b), -1) {
		kind[m[1]] = m[2]
	}
	if len(kind) < 50 {
		t.Fatalf("docs/metrics.md lists %d metrics", len(kind))
	}
	for _, e := range expressions(t, rendering{}.must(t, valuesOf(t, "everything"))) {
		for _, v := range []string{"$__rate_interval", "$__range"} {
			e = strings.ReplaceAll(e, v, "5m")
		}
		if _, err := metricsql.Parse(e); err != nil {
			t.Errorf("%s: %v", e, err)
		}
		for _, name := range metric.FindAllString(e, -1) {
			base, bucket := strings.CutSuffix(name, "_bucket")
			switch k := kind[base]; {
			case k == "":
				t.Errorf("%s: %s is not in docs/metrics.md", e, name)
			case bucket != (k == "histogram"):
				t.Errorf("%s: %s is a %s", e, name, k)
			case k == "counter" && !regexp.MustCompile(`(rate|increase)\(`+name).MatchString(e):
				t.Errorf("%s: the counter %s as it is", e, name)
			}
		}
	}
}
