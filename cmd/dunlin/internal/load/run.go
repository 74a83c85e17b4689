package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// Options are what a run needs besides its Config.
type Options struct {
	// Worker is the command of a process of the load, which calls Work. Without one
	// everything is done in this process.
	Worker  []string
	Observe Observer
}

// Run does what c says. When ctx ends, the run ends early and its result is none the
// worse. An error means that there is no result, a UsageError that there cannot be
// one; what went wrong with single connections is in the result.
func Run(ctx context.Context, c Config, o Options) (*Result, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	files, err := openFiles()
	if err != nil {
		return nil, err
	}
	if len(o.Worker) == 0 && c.Processes == 0 {
		c.Processes = 1
	}
	layout, err := c.Layout(files)
	if err != nil {
		return nil, err
	}
	if layout.Sources > 0 && len(c.Sources) == 0 {
		c.Sources = loopbackSources(layout.Sources)
	}
	r := &run{
		config: c, layout: layout, observe: o.Observe, inbox: make(chan letter),
		began: time.Now(), end: EndDone,
	}
	if err := r.hire(o.Worker); err != nil {
		return nil, err
	}
	defer r.dismiss()
	return r.all(ctx)
}

// run is a run in progress, as its conductor sees it. One goroutine owns it.
type run struct {
	config  Config
	layout  Layout
	observe Observer
	crew    []*member
	inbox   chan letter // from all of the crew

	began    time.Time
	phase    Phase
	phaseAt  time.Time
	done     int // members who have ended the phase
	probes   int // members who owe the answer to a probe
	fresh    int // answers to probes of this phase
	end      End
	quiet    time.Duration // since anything came
	seen     uint64        // what had come then
	probedAt time.Time

	series  series
	brokers []Process
	self    Process // the conductor, if the work is done by others
}

// letter is a report with its sender.
type letter struct {
	from int
	report
	err error // the member is gone
}

// all goes through the phases and puts together what came of them.
func (r *run) all(ctx context.Context) (*Result, error) {
	r.series.at, r.series.brokers = r.began, r.brokersTime()
	if err := r.brief(); err != nil {
		return nil, err
	}
	for _, p := range r.config.phases() {
		if ctx.Err() != nil && p != Draining {
			continue
		}
		if p == Queueing {
			if err := r.every(order{Kind: toPart}); err != nil {
				return nil, err
			}
		}
		if err := r.pass(ctx, p); err != nil {
			return nil, err
		}
	}
	if err := r.cut(); err != nil {
		return nil, err
	}
	if err := r.every(order{Kind: toFinish}); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// brief tells every member its part.
func (r *run) brief() error {
	tag := uint16(rand.Uint32())
	shares := r.config.shares(len(r.crew))
	for k, s := range shares {
		b := briefing{
			Config: r.config, Password: r.config.Password, Share: s, Tag: tag, Lead: k == 0,
			Pending: max(1, r.config.Pending/len(shares)),
			Alone:   len(shares) == 1 || r.config.spread() == pairs || r.config.Subscribers == s.Subs.len(),
		}
		if n := r.config.Publishers; n > 0 {
			b.Rate = r.config.Rate * float64(s.Pubs.len()) / float64(n)
		} else { // conn
			b.Rate = r.config.Rate * float64(s.Subs.len()) / float64(r.config.Subscribers)
		}
		b.Connects = r.config.ConnectRate * float64(s.len()) / float64(r.config.total())
		r.crew[k].send(order{Kind: toBegin, Begin: &b})
	}
	return r.until(context.Background(), func() bool { return r.done == len(r.crew) })
}

// every gives all the same order and waits until all have carried it out.
func (r *run) every(o order) error {
	r.done = 0
	r.tellAll(o)
	return r.until(context.Background(), func() bool { return r.done == len(r.crew) })
}

// pass goes through one phase.
func (r *run) pass(ctx context.Context, p Phase) error {
	if p == Warmup && r.config.Warmup == 0 {
		return nil
	}
	r.phase, r.phaseAt = p, time.Now()
	r.done, r.quiet, r.probedAt, r.fresh = 0, 0, r.phaseAt, 0
	r.tellAll(order{Kind: toPhase, Phase: p})
	own := ownTime()
	if p == Draining {
		ctx = context.Background()
	}
	err := r.until(ctx, r.over)
	if errors.Is(err, context.Canceled) {
		r.end, err = EndInterrupted, nil
	}
	if err == nil && time.Since(r.series.at) >= r.config.Interval/10 {
		err = r.cut()
	}
	if p == Measure {
		r.look(ownTime() - own)
	}
	return err
}

// look notes what processes hold at the end of the measured phase, in which the
// conductor has used so much processor time.
func (r *run) look(own time.Duration) {
	see := func(pid int) Process {
		p := Process{PID: pid, Name: program(pid)}
		p.Memory, p.Peak = memory(pid)
		return p
	}
	r.brokers = r.brokers[:0]
	for _, pid := range r.config.PIDs {
		r.brokers = append(r.brokers, see(pid))
	}
	if len(r.crew) > 1 {
		r.self = see(os.Getpid())
		r.self.CPU = own
	}
}

// over says whether the phase is, and why if that ends the run.
func (r *run) over() bool {
	c := r.config
	passed := time.Since(r.phaseAt)
	switch r.phase {
	case Warmup:
		return passed >= c.Warmup
	case Draining:
		patience := c.Patience
		if r.end == EndInterrupted {
			patience = min(patience, time.Second)
		}
		return r.complete() || r.quiet > patience
	case Measure:
		switch {
		case c.Verb == Offline && r.complete():
			return true
		case c.Duration > 0 && passed >= c.Duration:
			if c.Verb != Conn {
				r.end = EndDuration
			}
			return true
		case c.Verb == Conn && c.Churn:
			return false
		case c.Verb == Conn:
			return c.Duration == 0 && (r.spent() && r.complete() || r.quiet > c.Patience)
		case c.Verb != Offline && c.Limit > 0 && r.spent():
			r.end = EndLimit
			return true
		case (c.Verb == Offline || c.Rate == 0 && c.Publishers > 0) && r.quiet > c.Patience:
			r.end = EndStalled
			return true
		}
		return false
	}
	return r.done == len(r.crew) || r.phase == Queueing && r.quiet > c.Patience
}

// asked says whether all have told how far they are since the phase began.
func (r *run) asked() bool { return r.fresh >= len(r.crew) }

// spent says whether all have sent what they were to send.
func (r *run) spent() bool {
	if !r.asked() {
		return false
	}
	for _, m := range r.crew {
		if !m.last.Spent {
			return false
		}
	}
	return true
}

// complete says whether nothing is under way any more.
func (r *run) complete() bool {
	c := r.check()
	return r.asked() && (!c.Complete || c.Delivered >= c.Expected) && c.Unacked == 0
}

// check adds up what the numbers in the messages say.
func (r *run) check() (c Check) {
	counts := r.counts()
	for _, m := range r.crew {
		c.Add(m.last.Check)
	}
	c.Complete = r.config.Verb != Pub && r.config.Verb != Sub
	if r.config.QoS > 0 {
		c.Unacked = counts.Sent - min(counts.Acked, counts.Sent)
	}
	if c.Complete {
		c.Expected = counts.Sent * uint64(r.config.copies())
		c.Lost = c.Expected - min(c.Delivered, c.Expected)
	}
	return c
}

func (r *run) counts() (c Counts) {
	for _, m := range r.crew {
		c.Add(m.last.Counts)
	}
	return c
}

func (r *run) connections() (c Connections) {
	for _, m := range r.crew {
		o := m.last.Connections
		c.Wanted += o.Wanted
		c.Connected += o.Connected
		c.Held += o.Held
		c.Unanswered += o.Unanswered
		c.Lost += o.Lost
		c.Elapsed = max(c.Elapsed, o.Elapsed)
	}
	return c
}

// oneWait is what a look that found nothing new counts for at most: that the tester
// itself was not let run says nothing about the broker.
const oneWait = 250 * time.Millisecond

// until takes what comes in until cond holds, has the interval told to the observer
// and asks how far all are where nothing else would say so.
func (r *run) until(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(r.config.Interval)
	defer tick.Stop()
	pause := 5 * time.Millisecond
	if r.phase != Draining {
		pause = 50 * time.Millisecond
	}
	look := time.NewTimer(pause)
	defer look.Stop()
	for !cond() {
		select {
		case l := <-r.inbox:
			if err := r.take(l); err != nil {
				return err
			}
		case <-tick.C:
			r.tick()
		case <-look.C:
			r.probe()
			if r.phase == Draining {
				pause = min(pause*3/2, 200*time.Millisecond)
			}
			next := pause
			if d := r.deadline(); d > 0 {
				next = min(next, d)
			}
			look.Reset(next)
		case <-ctx.Done():
			return context.Canceled
		}
	}
	return nil
}

// deadline is how long the phase has yet to go, 0 if that is not known.
func (r *run) deadline() time.Duration {
	switch r.phase {
	case Warmup:
		return max(r.config.Warmup-time.Since(r.phaseAt), time.Microsecond)
	case Measure:
		if r.config.Duration > 0 {
			return max(r.config.Duration-time.Since(r.phaseAt), time.Microsecond)
		}
	}
	return 0
}

// probe asks all how far they are, once the last time was answered.
func (r *run) probe() {
	if r.probes > 0 || r.phase != Measure && r.phase != Draining && r.phase != Queueing {
		return
	}
	now := time.Now()
	came := r.counts().Received + r.counts().Acked
	if came != r.seen {
		r.seen, r.quiet = came, 0
	} else {
		r.quiet += min(now.Sub(r.probedAt), oneWait)
	}
	r.probedAt = now
	r.probes = len(r.crew)
	r.tellAll(order{Kind: toProbe, Phase: r.phase})
}

// take keeps what a member has reported.
func (r *run) take(l letter) error {
	if l.err != nil {
		return fmt.Errorf("load: process %d of the load: %w", l.from+1, l.err)
	}
	if l.Err != "" {
		return fmt.Errorf("load: process %d of the load: %s", l.from+1, l.Err)
	}
	m := r.crew[l.from]
	m.last = l.report
	switch l.Kind {
	case toPhase:
		if l.Phase == r.phase {
			r.done++
		}
	case toBegin, toPart:
		r.done++
	case toFinish:
		m.measured = l.Measured
		r.done++
	case toProbe:
		r.probes--
		if l.Phase == r.phase {
			r.fresh++
		}
	case toTick:
		if r.series.owed--; l.Sample != nil {
			r.series.sample.Merge(l.Sample)
		}
		if r.series.owed == 0 {
			r.interval()
		}
	}
	return nil
}

// result puts together what all have said in the end.
func (r *run) result() *Result {
	res := &Result{
		Config: r.config, Layout: r.layout, Started: r.began, End: r.end, Elapsed: time.Since(r.began),
		Connections: r.connections(), Total: r.counts(), Check: r.check(), Series: r.series.done,
	}
	var failed failures
	cpu := make([]time.Duration, len(r.config.PIDs))
	for _, m := range r.crew {
		failed.merge(m.last.Failures)
		if m.measured == nil {
			continue
		}
		res.Measured = max(res.Measured, m.measured.Elapsed)
		res.Messages.Add(m.measured.Counts)
		res.Rounds += m.measured.Rounds
		res.Latency.Merge(m.measured.Latency)
		res.Load = append(res.Load, m.measured.Process)
		for i, d := range m.measured.Brokers {
			cpu[i] += d
		}
	}
	if len(r.crew) > 1 {
		res.Load = append([]Process{r.self}, res.Load...)
	}
	for i, p := range r.brokers {
		p.CPU = cpu[i]
		res.Brokers = append(res.Brokers, p)
	}
	res.Failures = failed.list()
	return res
}
