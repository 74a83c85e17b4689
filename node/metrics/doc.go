// Package metrics is what a node tells Prometheus: one table of metrics, which
// docs/metrics.md prints, and a registry that exports them from the counters
// that the parts of a node keep for themselves.
//
// Nothing here is touched when a message passes: a scrape asks the sources. No
// label ever holds a client identifier, a user or a topic.
package metrics
