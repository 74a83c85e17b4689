package raftstore

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a Store counts over all its shards.
type metrics struct {
	applies    prometheus.Counter
	commands   prometheus.Counter
	batch      prometheus.Histogram
	wills      prometheus.Counter
	pushes     prometheus.Counter
	reads      prometheus.Counter
	contended  prometheus.Counter
	overQuota  prometheus.Counter
	spills     prometheus.Counter
	spillReads prometheus.Counter
	drops      [dropReasons]prometheus.Counter

	gauges []*gauges // by shard
}

// gauges is what a shard last said of its size.
type gauges struct {
	sessions, messages, messageBytes, retained, retainedBytes, letters, memory, spilled, files, publishers atomic.Int64
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dunlin_store_" + name, Help: help})
	}
	m := &metrics{
		applies:    counter("entries_applied_total", "Log entries applied, all shards."),
		commands:   counter("commands_applied_total", "Commands applied, all shards."),
		wills:      counter("wills_fired_total", "Wills published."),
		pushes:     counter("deliveries_pushed_total", "Deliveries handed to the owners of sessions."),
		reads:      counter("retained_reads_total", "Pages of retained messages asked for."),
		contended:  counter("claims_contended_total", "Claims refused because their client identifier changes hands too often."),
		overQuota:  counter("claims_over_quota_total", "Claims refused because their user has as many stored sessions as he may."),
		spills:     counter("spills_total", "Queued messages written to scratch files, for want of memory."),
		spillReads: counter("spill_reads_total", "Queued messages read back from scratch files for sessions, or to rewrite a file."),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dunlin_store_entry_commands", Help: "Commands in a log entry.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 6),
		}),
	}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dunlin_store_dropped_total", Help: "Queued messages dropped, by reason.",
	}, []string{"reason"})
	for i, name := range dropNames {
		m.drops[i] = dropped.WithLabelValues(name)
	}
	for range s.shards {
		m.gauges = append(m.gauges, &gauges{})
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.applies, m.commands, m.wills, m.pushes, m.reads, m.contended, m.overQuota, m.spills, m.spillReads, m.batch, dropped)
	for _, g := range []struct {
		name, help string
		of         func(*gauges) *atomic.Int64
	}{
		{"sessions", "Sessions and claims held, and guests: identifiers that connections hold without a claim.", func(g *gauges) *atomic.Int64 { return &g.sessions }},
		{"queued_messages", "Messages queued, each counted once per shard.", func(g *gauges) *atomic.Int64 { return &g.messages }},
		{"letters", "Messages and news of share groups on their way to other shards.", func(g *gauges) *atomic.Int64 { return &g.letters }},
		{"queued_bytes", "Bytes of the messages queued.", func(g *gauges) *atomic.Int64 { return &g.messageBytes }},
		{"queued_memory_bytes", "Bytes of the messages queued that are held in memory.", func(g *gauges) *atomic.Int64 { return &g.memory }},
		{"spilled_bytes", "Bytes of the messages queued that are in scratch files instead.", func(g *gauges) *atomic.Int64 { return &g.spilled }},
		{"scratch_bytes", "Size of the scratch files.", func(g *gauges) *atomic.Int64 { return &g.files }},
		{"publishers", "Publishers of QoS 2 that shards remember, up to 20 minutes after their sessions have ended.", func(g *gauges) *atomic.Int64 { return &g.publishers }},
		{"retained_messages", "Topics with a retained message.", func(g *gauges) *atomic.Int64 { return &g.retained }},
		{"retained_bytes", "Bytes of the retained messages.", func(g *gauges) *atomic.Int64 { return &g.retainedBytes }},
	} {
		reg.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "dunlin_store_" + g.name, Help: g.help},
			func() float64 {
				sum := int64(0)
				for i, shard := range m.gauges {
					if sum += g.of(shard).Load(); g.name == "sessions" {
						sum += int64(s.shards[i].guests.count())
					}
				}
				return float64(sum)
			}))
	}
	return m
}

// led counts what an entry that this node proposed did.
func (m *metrics) led(sh *shard, commands int) {
	m.batch.Observe(float64(commands))
	m.wills.Add(float64(len(sh.st.fx.wills)))
	m.pushes.Add(float64(len(sh.st.fx.pushes)))
}

// observe counts what an entry did, on every replica.
func (m *metrics) observe(sh *shard, commands int) {
	st := sh.st
	m.applies.Inc()
	m.commands.Add(float64(commands))
	for i, n := range st.fx.dropped {
		if n > 0 {
			m.drops[i].Add(float64(n))
		}
	}
	m.size(sh)
}

// size takes down how much a shard holds.
func (m *metrics) size(sh *shard) {
	st, g := sh.st, m.gauges[sh.id]
	g.sessions.Store(int64(st.sessions.ids.used))
	g.messages.Store(int64(st.messages.stored()))
	g.messageBytes.Store(int64(st.messages.bytes))
	g.memory.Store(int64(st.messages.memory()))
	g.spilled.Store(int64(st.messages.spilled))
	if s := st.messages.scratch; s != nil {
		g.files.Store(s.file)
	} else {
		g.files.Store(0)
	}
	g.publishers.Store(int64(len(st.publishers.seen)))
	g.letters.Store(int64(st.mail.waiting()))
	g.retained.Store(int64(st.retained.tree.Len()))
	g.retainedBytes.Store(int64(st.retained.bytes))
}
