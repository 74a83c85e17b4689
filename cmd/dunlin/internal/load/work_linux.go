package load

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// work has clients do Options.Work over and over, each waiting for every answer.
func work(ctx context.Context, o Options) (res Outcome, err error) {
	if o.Persistent { // an earlier run that was stopped has left its own
		if err := endSessions(o); err != nil {
			return res, err
		}
	}
	w := worker{Options: o}
	var running sync.WaitGroup
	fail := make(chan error, o.Subscribers)
	times := make([]latencies, o.Subscribers)
	for i := range o.Subscribers {
		running.Go(func() {
			if err := w.loop(i, &times[i]); err != nil {
				fail <- err
			}
		})
	}
	defer func() {
		w.stop.Store(true)
		running.Wait()
		if err == nil {
			all := slices.Concat(times...)
			res.Delivered = len(all)
			res.Median, res.P99 = time.Duration(all.quantile(0.5)), time.Duration(all.quantile(0.99))
		}
		if err == nil && o.Persistent {
			err = endSessions(o)
		}
	}()
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-fail:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := wait(o.Warmup); err != nil {
		return res, err
	}
	began := monotonic()
	cpu, err := cpuTime(o.Processes)
	if err != nil {
		return res, err
	}
	own, err := ownTime()
	if err != nil {
		return res, err
	}
	w.counting.Store(true)
	if err := wait(o.Duration); err != nil {
		return res, err
	}
	w.counting.Store(false)
	res.Scenario, res.Elapsed = o.Name, time.Duration(monotonic()-began)
	if res.CPU, err = cpuTime(o.Processes); err != nil {
		return res, err
	}
	res.Own, err = ownTime()
	res.CPU, res.Own = res.CPU-cpu, res.Own-own
	return res, err
}

// worker is what the clients of one run share.
type worker struct {
	Options
	counting, stop atomic.Bool
}

// loop is the life of client i.
func (w *worker) loop(i int, times *latencies) error {
	addr := w.Subscribe[i%len(w.Subscribe)]
	var c *conn
	if w.Work == Subscribes {
		var err error
		if c, err = dial(addr, subscriberID(i), !w.Persistent); err != nil {
			return err
		}
		defer c.drop()
	}
	for n := 0; !w.stop.Load(); n++ {
		before := monotonic()
		switch w.Work {
		case Connects:
			c, err := dial(addr, fmt.Sprintf("claim-%d-%d", i, n%1000), true)
			if err != nil {
				return err
			}
			c.drop()
		case Subscribes:
			filter := fmt.Sprintf("load/%d/%d/+", i, n)
			if err := c.subscribe(filter, 1); err != nil {
				return err
			}
			if err := c.unsubscribe(filter); err != nil {
				return err
			}
		}
		if w.counting.Load() {
			*times = append(*times, monotonic()-before)
		}
	}
	return nil
}
