package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Emit reports the value of a metric, with one value for each of its labels. The
// same metric and labels may be reported once in a scrape.
type Emit func(m *Metric, value float64, labels ...string)

// Source reports what a part of the node knows at this moment. It is called by
// scrapes, from any goroutine and perhaps by two at once, and may not wait for
// an event loop.
type Source func(Emit)

// NewRegistry returns a registry that exports the metrics of sources beside
// those of the Go runtime and the process. Which sources there are is all that it
// needs to know: a metric that no source reports is not exported.
func NewRegistry(sources ...Source) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCollector(sources),
	)
	return reg
}

// collector turns the table and its sources into a prometheus.Collector.
type collector struct {
	descs   map[*Metric]*prometheus.Desc
	sources []Source
}

func newCollector(sources []Source) *collector {
	c := &collector{descs: make(map[*Metric]*prometheus.Desc, len(table)), sources: sources}
	for _, m := range table {
		c.descs[m] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return c
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	emit := func(m *Metric, value float64, labels ...string) {
		d, ok := c.descs[m]
		if !ok {
			d = prometheus.NewInvalidDesc(fmt.Errorf("metrics: %s is not in the table", m.Name))
			ch <- prometheus.NewInvalidMetric(d, fmt.Errorf("metrics: %s is not in the table", m.Name))
			return
		}
		sample, err := prometheus.NewConstMetric(d, m.Type, value, labels...)
		if err != nil {
			sample = prometheus.NewInvalidMetric(d, err)
		}
		ch <- sample
	}
	for _, s := range c.sources {
		s(emit)
	}
}
