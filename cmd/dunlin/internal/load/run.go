package load

import (
	"context"
	"errors"
	"time"
)

// Options say against what a scenario runs and for how long.
type Options struct {
	Scenario
	Publish   []string      // addresses that publishers connect to, in turn
	Subscribe []string      // the same for subscribers; empty: as Publish
	Warmup    time.Duration // before anything is counted
	Duration  time.Duration // the measured interval
	Processes []int         // whose processor time is measured
}

// Outcome is what was seen in the measured interval, but for Missing and Late,
// which speak of the whole run.
type Outcome struct {
	Scenario  string        `json:"scenario"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	Delivered int           `json:"delivered"`
	// CPU is the user and system time of Options.Processes, Own that of the
	// generator.
	CPU time.Duration `json:"cpu_ns"`
	Own time.Duration `json:"own_cpu_ns"`
	// Missing deliveries never came; Late ones came again, or after a later one of
	// the same publisher to the same subscriber.
	Missing int `json:"missing"`
	Late    int `json:"late"`
	// Median and P99 are latencies from before the write of a message to after
	// the read that brought it, with Rate only; and of each time that Work was done.
	Median time.Duration `json:"median_ns,omitempty"`
	P99    time.Duration `json:"p99_ns,omitempty"`
}

// PerMessage is the processor time of one delivery.
func (r Outcome) PerMessage() time.Duration {
	return r.CPU / time.Duration(max(r.Delivered, 1))
}

// ErrUnsupported is Run's error on a system without epoll.
var ErrUnsupported = errors.New("load: needs Linux")

// Run runs a scenario.
func Run(ctx context.Context, o Options) (Outcome, error) {
	if len(o.Subscribe) == 0 {
		o.Subscribe = o.Publish
	}
	return run(ctx, o)
}
