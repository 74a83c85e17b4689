package metrics_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"dunlin/node"
	"dunlin/node/admin"
	"dunlin/node/config"
	"dunlin/node/metrics"
)

// scrape runs a node and returns what it exports.
func scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(256), 1+rand.IntN(250))
	c := config.Default()
	c.DataDir, c.HTTPAddr = t.TempDir(), ""
	c.MQTTAddr, c.GossipAddr, c.ClusterAddr = host+":1883", host+":7946", host+":7947"
	n, err := node.New(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return admin.Dial(ctx, c.DataDir) },
	}}
	whenReady(t, &client)
	resp, err := client.Get("http://node/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// whenReady waits until the node takes clients: its shards export nothing before.
func whenReady(t *testing.T, client *http.Client) {
	t.Helper()
	for range 1000 {
		if resp, err := client.Get("http://node/health/ready"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the node is not ready after 10 s")
}

// What a running node exports is what the table says: names, types, labels and
// help; and what the table has, a node exports. Series with labels may come
// later: a reason that has not occurred is not there.
func TestTableIsWhatANodeExports(t *testing.T) {
	kinds := map[prometheus.ValueType]dto.MetricType{
		prometheus.CounterValue: dto.MetricType_COUNTER, prometheus.GaugeValue: dto.MetricType_GAUGE,
		prometheus.UntypedValue: dto.MetricType_HISTOGRAM,
	}
	exported := scrape(t)
	documented := make(map[string]bool)
	for _, m := range metrics.Table() {
		documented[m.Name] = true
		f := exported[m.Name]
		if f == nil {
			if len(m.Labels) == 0 {
				t.Errorf("%s is in the table and a node does not export it", m.Name)
			}
			continue
		}
		if f.GetType() != kinds[m.Type] {
			t.Errorf("%s is exported as %s", m.Name, f.GetType())
		}
		if help := strings.TrimSuffix(f.GetHelp(), "."); help != m.Help {
			t.Errorf("%s: exported with the help %q, in the table %q", m.Name, help, m.Help)
		}
		want := slices.Sorted(slices.Values(m.Labels))
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName())
			}
			if slices.Sort(labels); !slices.Equal(labels, want) {
				t.Errorf("%s has labels %v, in the table %v", m.Name, labels, want)
			}
		}
	}
	for name := range exported {
		if strings.HasPrefix(name, "dunlin_") && !documented[name] {
			t.Errorf("%s is exported and not in the table", name)
		}
	}
}
