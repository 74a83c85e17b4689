package shardnet

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	asks, pushed, dropped, badRecords *prometheus.CounterVec
	forgotten                         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_shardnet_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		asks:       vec("asks_total", "Frames of commands brought to shard leaders on other nodes, by outcome.", "outcome"),
		pushed:     vec("pushes_total", "Records pushed to the owners of sessions on other nodes, by kind.", "kind"),
		dropped:    vec("deliveries_dropped_total", "Deliveries not pushed to another node, by reason; those of QoS 1 and 2 are pushed again.", "reason"),
		badRecords: vec("bad_records_total", "Records and answers of other nodes that do not parse, by kind.", "kind"),
	}
	m.forgotten = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dunlin_shardnet_evictions_forgotten_total",
		Help: "Handovers asked of owners on other nodes whose answers are not waited for, as too many were asked for.",
	})
	if reg != nil {
		reg.MustRegister(m.asks, m.pushed, m.dropped, m.badRecords, m.forgotten)
	}
	return m
}
