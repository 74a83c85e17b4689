package log

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a log is given; start from DefaultOptions.
type Options struct {
	// SegmentBytes is the size of a segment file. A batch that is larger gets a
	// segment of its own size.
	SegmentBytes int
	// CacheBytes bounds, per group, the memory of recent entries kept for
	// followers and Apply to read. The entries given to StoreLogs are kept
	// themselves: their bytes must never be written again, as raft.LogCache asks.
	CacheBytes int
	// StallTimeout is disk-stall-timeout: how long one operation on the disk may
	// take before Stalled is called. 0 is never.
	StallTimeout time.Duration

	// Stalled is called, on a goroutine of its own, while an operation on the
	// disk has been going on for StallTimeout; once per operation. The node
	// closes all its sockets and exits (D3).
	Stalled func(operation string)
	// Failed is called once with the error that poisoned the log, before any call
	// returns it. The node stops (D2). It may not use the log.
	Failed func(error)

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nothing is exported
	FS         FS                    // nil: the operating system's
}

// DefaultOptions are for a node in production, but for the callbacks.
func DefaultOptions() Options {
	return Options{
		SegmentBytes: 16 << 20,
		CacheBytes:   1 << 20,
		StallTimeout: 10 * time.Second,
		Logger:       slog.New(slog.DiscardHandler),
	}
}

// The format's offsets have 32 bits; segments stay well below.
const (
	minSegmentBytes = 4 << 10
	maxSegmentBytes = 1 << 30
	maxRequestBytes = 1 << 30
)

func (o Options) validate() error {
	switch {
	case o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes:
		return fmt.Errorf("segment size %d is not between %d and %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	case o.CacheBytes < 0:
		return fmt.Errorf("cache size %d is negative", o.CacheBytes)
	case o.StallTimeout < 0:
		return fmt.Errorf("stall timeout %v is negative", o.StallTimeout)
	case o.Logger == nil:
		return errors.New("no logger")
	}
	return nil
}
