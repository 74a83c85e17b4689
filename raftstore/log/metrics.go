package log

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the log does.
type metrics struct {
	written, moved, syncs, hits, misses prometheus.Counter
	requests, bytes, seconds            prometheus.Histogram
}

// sizes are what the syncer tells of the files, for gauges to read.
type sizes struct{ segments, files, live atomic.Int64 }

var (
	descSegments = prometheus.NewDesc("dunlin_raft_log_segments", "Segment files of the Raft log in use.", nil, nil)
	descFiles    = prometheus.NewDesc("dunlin_raft_log_file_bytes", "Size of the segment files in use.", nil, nil)
	descLive     = prometheus.NewDesc("dunlin_raft_log_live_bytes", "Size of the entries that Raft groups still need.", nil, nil)
	descMemory   = prometheus.NewDesc("dunlin_raft_log_memory_bytes", "Memory that knows where entries lie, and of the latest entries themselves.", nil, nil)
	descFailed   = prometheus.NewDesc("dunlin_raft_log_failed", "1 if a write or sync failed and the node must stop.", nil, nil)
)

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_raft_log_" + name, Help: help})
	}
	histogram := func(name, help string, start, factor float64, count int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_raft_log_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(start, factor, count),
		})
	}
	return &metrics{
		written:  counter("written_bytes_total", "Bytes of batches written to the Raft log."),
		moved:    counter("moved_bytes_total", "Bytes of entries copied so that a segment could be recycled."),
		syncs:    counter("syncs_total", "Syncs of log files."),
		hits:     counter("cache_hits_total", "Entries read from memory."),
		misses:   counter("cache_misses_total", "Entries read from disk."),
		requests: histogram("batch_requests", "Calls stored with one write and one sync.", 1, 2, 8),
		bytes:    histogram("batch_bytes", "Bytes stored with one write and one sync.", 256, 4, 9),
		seconds:  histogram("batch_seconds", "Time to write and sync a batch.", 25e-6, 2, 18),
	}
}

// stored counts a batch.
func (m *metrics) stored(requests, bytes int, took time.Duration) {
	m.written.Add(float64(bytes))
	m.requests.Observe(float64(requests))
	m.bytes.Observe(float64(bytes))
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.written, m.moved, m.syncs, m.hits, m.misses, m.requests, m.bytes, m.seconds}
}

// Describe and Collect implement prometheus.Collector.
func (l *Log) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSegments, descFiles, descLive, descMemory, descFailed} {
		ch <- d
	}
	for _, m := range l.metrics.all() {
		m.Describe(ch)
	}
}

func (l *Log) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	p := &l.syncer.published
	gauge(descSegments, p.segments.Load())
	gauge(descFiles, p.files.Load())
	gauge(descLive, p.live.Load())
	gauge(descMemory, l.memory())
	var failed int64
	if l.ended.Load() != nil {
		failed = 1
	}
	gauge(descFailed, failed)
	for _, m := range l.metrics.all() {
		m.Collect(ch)
	}
}

// memory is what groups have in memory for their entries, in bytes.
func (l *Log) memory() (sum int64) {
	for _, g := range l.all() {
		g.mu.RLock()
		sum += int64(g.mu.index.memory() + g.mu.recent.memory())
		g.mu.RUnlock()
	}
	return sum
}

// publish tells the gauges; the syncer's.
func (l *Log) publish() {
	p := &l.syncer.published
	files, live := l.segments.sizes()
	p.segments.Store(int64(len(l.segments.list)))
	p.files.Store(files)
	p.live.Store(live)
}
