package shardroutes

import "github.com/prometheus/client_golang/prometheus"

// metrics are the counters of Routes; gauges are read from it when scraped.
type metrics struct {
	routes         *Routes
	asks, refused  *prometheus.CounterVec
	feeds, waiting *prometheus.Desc
}

func newMetrics(reg prometheus.Registerer, r *Routes) *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_shard_routes_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		routes:  r,
		asks:    vec("asks_total", "Messages with routes of shards led here to the nodes that are to hold them, by kind.", "kind"),
		refused: vec("refused_total", "Messages about routes of shards that were refused, by reason.", "reason"),
		feeds: prometheus.NewDesc("dunlin_shard_routes_feeds",
			"Nodes that are fed with routes of shards led here, once for each shard, by whether they hold them all.", []string{"state"}, nil),
		waiting: prometheus.NewDesc("dunlin_shard_routes_waiting",
			"Callers that wait for the routes of a shard to be everywhere, at its leader or elsewhere.", []string{"at"}, nil),
	}
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

// Describe and Collect implement prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.asks.Describe(ch)
	m.refused.Describe(ch)
	ch <- m.feeds
	ch <- m.waiting
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.asks.Collect(ch)
	m.refused.Collect(ch)
	current, behind, atLeader, elsewhere := 0, 0, 0, 0
	for sh := range m.routes.led {
		if l := m.routes.led[sh].Load(); l != nil {
			version := l.table.Version()
			for _, f := range *l.feeds.Load() {
				if f.holds() > version {
					current++
				} else {
					behind++
				}
			}
			atLeader += l.barrier.Waiting()
		}
		elsewhere += m.routes.syncs[sh].count()
	}
	gauge := func(d *prometheus.Desc, n int, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), label)
	}
	gauge(m.feeds, current, "current")
	gauge(m.feeds, behind, "behind")
	gauge(m.waiting, atLeader, "leader")
	gauge(m.waiting, elsewhere, "elsewhere")
}
