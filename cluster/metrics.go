package cluster

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of a Cluster; gauges are read from it when scraped,
// so that a peer that is gone leaves no series behind.
type metrics struct {
	framesOut, framesIn, bytesOut, bytesIn prometheus.Counter
	resent, reconnects, badFrames          prometheus.Counter
	dropped, lost, strangers, deaths       *prometheus.CounterVec
}

var (
	descMembers     = prometheus.NewDesc("dunlin_cluster_members", "Members of the cluster as this node sees it, by state.", []string{"state"}, nil)
	descUnconfirmed = prometheus.NewDesc("dunlin_cluster_unconfirmed_bytes", "Forwarded bytes that the peer has not confirmed.", []string{"node"}, nil)
	descFeedLag     = prometheus.NewDesc("dunlin_cluster_feed_lag_versions", "Own route changes that the peer has not confirmed.", []string{"node"}, nil)
	descExpiry      = prometheus.NewDesc("dunlin_cluster_certificate_expiry_seconds", "Time until the certificate expires that peers are shown; infinite without TLS.", nil, nil)
	descWaiting     = prometheus.NewDesc("dunlin_cluster_route_waiters", "Callers that wait for peers to hold a route.", nil, nil)
)

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_cluster_" + name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dunlin_cluster_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		framesOut:  counter("frames_out_total", "Frames forwarded to peers."),
		framesIn:   counter("frames_in_total", "Frames taken from peers."),
		bytesOut:   counter("bytes_out_total", "Bytes of batches sent to peers."),
		bytesIn:    counter("bytes_in_total", "Bytes of batches received from peers."),
		resent:     counter("frames_resent_total", "Frames sent again after a broken stream."),
		reconnects: counter("stream_reconnects_total", "Streams to peers that had to be opened again."),
		badFrames:  counter("bad_frames_total", "Streams closed because of a malformed or misplaced frame."),
		dropped:    vec("frames_dropped_total", "Unreliable frames dropped, by reason.", "reason"),
		lost:       vec("frames_lost_total", "Reliable frames whose peer is gone, by reason.", "reason"),
		strangers:  vec("strangers_refused_total", "Nodes refused in gossip, and callers at the handshake, by reason.", "reason"),
		deaths:     vec("members_gone_total", "Members that are gone, by how it was found out.", "reason"),
	}
	m.strangers.WithLabelValues(foreignReason) // there to be watched
	return m
}

// Describe and Collect implement prometheus.Collector.
func (c *Cluster) Describe(ch chan<- *prometheus.Desc) {
	ch <- descMembers
	ch <- descUnconfirmed
	ch <- descFeedLag
	ch <- descWaiting
	ch <- descExpiry
	for _, m := range c.metrics.all() {
		m.Describe(ch)
	}
}

func (c *Cluster) Collect(ch chan<- prometheus.Metric) {
	states := map[string]int{"alive": 0, "suspect": 0, "joining": 0}
	for _, n := range c.Nodes() {
		states[n.State]++
	}
	for s, n := range states {
		ch <- prometheus.MustNewConstMetric(descMembers, prometheus.GaugeValue, float64(n), s)
	}
	own := c.routes.Version()
	for _, p := range c.peerList() {
		bytes, _ := p.out.unconfirmed()
		ch <- prometheus.MustNewConstMetric(descUnconfirmed, prometheus.GaugeValue, float64(bytes), p.label)
		lag := own
		if v, ok := p.routed(); ok && v < own {
			lag = own - v
		} else if ok {
			lag = 0
		}
		ch <- prometheus.MustNewConstMetric(descFeedLag, prometheus.GaugeValue, float64(lag), p.label)
	}
	ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(c.barrier.Waiting()))
	expiry := math.Inf(1)
	if c.opts.TLS != nil {
		expiry = time.Until(c.opts.TLS().Expiry()).Seconds()
	}
	ch <- prometheus.MustNewConstMetric(descExpiry, prometheus.GaugeValue, expiry)
	for _, m := range c.metrics.all() {
		m.Collect(ch)
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.framesOut, m.framesIn, m.bytesOut, m.bytesIn, m.resent, m.reconnects, m.badFrames,
		m.dropped, m.lost, m.strangers, m.deaths,
	}
}
