package load

import (
	"context"
	"time"
)

// series are the intervals of a run, as they come in.
type series struct {
	done   []Interval
	owed   int        // members whose report on the interval is still out
	sample *Histogram // of those that have come

	// What had been by the end of the last interval.
	at       time.Time
	connects uint64
	counts   Counts
	load     time.Duration
	brokers  time.Duration
}

// tick ends the interval, if all have answered the last time.
func (r *run) tick() {
	if s := &r.series; s.owed == 0 {
		s.owed, s.sample = len(r.crew), NewHistogram()
		r.tellAll(order{Kind: toTick})
	}
}

// interval puts together what all have said of the interval.
func (r *run) interval() {
	s, now := &r.series, time.Now()
	i := Interval{
		At: now.Sub(r.began), Length: now.Sub(s.at), Phase: r.phase, Latency: s.sample.Summary(), Counts: r.counts(),
	}
	var load time.Duration
	if len(r.crew) > 1 {
		load = ownTime()
	}
	for _, m := range r.crew {
		i.Connected += m.last.Open
		i.Connects += m.last.Connects
		load += m.last.CPU
	}
	brokers := r.brokersTime()
	for _, pid := range r.config.PIDs {
		rss, _ := memory(pid)
		i.BrokerMemory += rss
	}
	i.LoadCPU, i.BrokerCPU = load-s.load, max(brokers-s.brokers, 0)
	i.Connects, s.connects = i.Connects-s.connects, i.Connects
	i.Counts, s.counts = i.Counts.Sub(s.counts), i.Counts
	s.at, s.load, s.brokers = now, load, brokers
	if len(s.done) == maxIntervals { // the second half of a run of weeks is worth as much as its first
		s.done = s.done[:copy(s.done, s.done[1:])]
	}
	s.done = append(s.done, i)
	r.tell(i)
}

// cut ends the interval with the phase, so that none is of two. A phase that was over
// in no time is counted with the next.
func (r *run) cut() error {
	r.tick()
	return r.until(context.Background(), func() bool { return r.series.owed == 0 })
}

// brokersTime is the processor time that the brokers have used so far.
func (r *run) brokersTime() (sum time.Duration) {
	for _, pid := range r.config.PIDs {
		if cpu, err := processorTime(pid); err == nil { // else it has ended, which the result tells
			sum += cpu
		}
	}
	return sum
}

// maxIntervals bounds Result.Series.
const maxIntervals = 100_000

// tell lets the observer know where the run stands.
func (r *run) tell(i Interval) {
	if r.observe == nil {
		return
	}
	var failed failures
	for _, m := range r.crew {
		failed.merge(m.last.Failures)
	}
	p := Progress{
		Phase: r.phase, Connections: r.connections(), Total: r.counts(), Check: r.check(), Interval: i, Failures: failed.list(),
	}
	switch c := r.config; r.phase {
	case Connecting:
		p.Done, p.Goal = int64(p.Connections.Connected), int64(p.Connections.Wanted)
	case Pinging:
		p.Done, p.Goal = int64(p.Connections.Held), int64(p.Connections.Connected)
	case Warmup:
		p.Done, p.Goal = int64(time.Since(r.phaseAt)), int64(c.Warmup)
	case Queueing:
		p.Done, p.Goal = int64(p.Total.Acked), int64(c.Limit)
	case Measure:
		p.Done, p.Goal = int64(time.Since(r.phaseAt)), int64(c.Duration)
		if c.Verb == Offline {
			p.Done, p.Goal = int64(p.Check.Delivered), int64(p.Check.Expected)
		} else if c.Limit > 0 {
			p.Done, p.Goal = int64(p.Total.Sent), int64(c.Limit)
		}
	case Draining:
		p.Done, p.Goal = int64(p.Check.Delivered), int64(p.Check.Expected)
	}
	r.observe(p)
}
