package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// worker does one process's part of a run, on one thread that owns all of it but
// what has a lock.
type worker struct {
	reports chan report // closed when the worker has ended
	desk    struct {
		sync.Mutex
		orders []order
		secure []secured // TLS handshakes that are over
		closed bool
	}
	wake  int // eventfd
	epoll int
	timer int // of a rate, -1 before
	clock clock

	briefing
	tls     []*tls.Config // of each of places
	secure  secure
	places  []place // brokers of subscribers, then of publishers
	phase   Phase
	conns   []conn // subscribers, then publishers
	ledger  *ledger
	pubs    []*publisher
	due     []*publisher
	pace    pace
	sending bool // publishers may

	ramp     ramp
	open     int // connections that are up
	status   Connections
	connects uint64
	counts   Counts
	foreign  uint64
	rounds   uint64
	failed   failures
	pings    struct {
		next int // connection to be asked
		out  int // answers that are waited for
	}
	swept int64 // when connections were last looked over

	interval         Latencies  // since the last fold
	deliveries, acks repeated   // not in interval yet
	total            Latencies  // of the whole run, and of the measured phase
	sample           *Histogram // for the series
	measure          struct {
		on      bool
		at      int64
		counts  Counts
		rounds  uint64
		cpu     time.Duration
		brokers []time.Duration
		result  measured
	}

	buf     []byte // one read, behind what was left of the one before
	out     []byte // the acknowledgements of one read
	packet  []byte // one that is being made
	frame   []byte // WebSocket frame
	finish  bool
	failure error // the worker cannot go on
}

func newWorker() (*worker, error) {
	w := &worker{
		reports: make(chan report, 16), epoll: -1, timer: -1, clock: newClock(),
		sample: NewHistogram(),
	}
	for _, h := range []**Histogram{&w.interval.Connect, &w.interval.Ping, &w.interval.Delivery, &w.interval.Ack, &w.interval.Round, &w.interval.Lag} {
		*h = NewHistogram()
	}
	var err error
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("load: eventfd: %w", err)
	}
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		unix.Close(w.wake)
		return nil, fmt.Errorf("load: epoll: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeEvent}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, w.wake, &ev); err != nil {
		return nil, fmt.Errorf("load: epoll: %w", err)
	}
	return w, nil
}

// What is no connection among the events' numbers.
const (
	timerEvent = -1
	wakeEvent  = -2
)

// order posts an order; any goroutine may.
func (w *worker) order(o order) { w.post(func() { w.desk.orders = append(w.desk.orders, o) }) }

// end has the worker end when it has carried out its orders.
func (w *worker) end() { w.post(func() { w.desk.closed = true }) }

// post leaves something on the desk and wakes the worker.
func (w *worker) post(put func()) {
	w.desk.Lock()
	put()
	w.desk.Unlock()
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it is there, and cannot be full
}

// run works until end.
func (w *worker) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.reports)
	defer w.close()
	events := make([]unix.EpollEvent, 512)
	for w.orders() {
		now := w.clock.now()
		w.dialSome(now)
		w.askSome(now)
		w.fill()
		n, err := unix.EpollWait(w.epoll, events, w.patience(now))
		if err != nil && !errors.Is(err, unix.EINTR) {
			w.fail(fmt.Errorf("epoll: %w", err))
		}
		for i := range max(n, 0) {
			w.handle(&events[i])
		}
		if now := w.clock.now(); now-w.swept > int64(sweepEvery) {
			w.swept = now
			w.sweep(now)
		}
		w.settled()
	}
}

// patience is how long to wait for events, in milliseconds.
func (w *worker) patience(now int64) int {
	if d, soon := w.ramp.wait(now, w.Pending); soon {
		return int(max(d, time.Millisecond) / time.Millisecond)
	}
	if len(w.due) > 0 {
		return 0
	}
	return 100
}

// fail notes that the worker cannot go on; the conductor will end it.
func (w *worker) fail(err error) {
	if w.failure == nil {
		w.failure = err
		w.reports <- report{Err: err.Error()}
	}
}

func (w *worker) close() {
	for i := range w.conns { // so that no handshake goes on
		if c := &w.conns[i]; c.state == securing {
			_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
		}
	}
	w.secure.running.Wait()
	for _, s := range w.desk.secure {
		w.secured(s)
	}
	for i := range w.conns {
		if c := &w.conns[i]; c.fd >= 0 {
			unix.Close(int(c.fd))
		}
	}
	for _, fd := range []int{w.epoll, w.wake, w.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// orders takes what is on the desk; false: there will be no more.
func (w *worker) orders() bool {
	w.desk.Lock()
	orders, secure, closed := w.desk.orders, w.desk.secure, w.desk.closed
	w.desk.orders, w.desk.secure = nil, nil
	w.desk.Unlock()
	for _, s := range secure {
		w.secured(s)
	}
	for _, o := range orders {
		switch o.Kind {
		case toBegin:
			w.begin(o.Begin)
		case toPhase:
			w.enter(o.Phase)
		case toPart:
			w.part()
			w.report(toPart, "")
		case toTick:
			w.tickReport()
		case toProbe:
			w.report(toProbe, o.Phase)
		case toFinish:
			w.finishAll()
		}
	}
	return !closed
}

// begin takes the worker's part.
func (w *worker) begin(b *briefing) {
	w.briefing = *b
	w.Config.Password = b.Password
	c := w.Config
	var err error
	if w.places, err = resolve(c); err != nil {
		w.fail(err)
		return
	}
	if w.tls, err = c.tlsConfigs(w.places); err != nil {
		w.fail(err)
		return
	}
	w.secure.slots = make(chan struct{}, handshakesAtOnce)
	for _, pid := range c.PIDs {
		if _, err := processorTime(pid); err != nil {
			w.fail(err)
			return
		}
	}
	w.buf = make([]byte, max(256<<10, 2*c.Size+(128<<10)))
	w.conns = make([]conn, w.Share.len())
	for i := range w.conns {
		w.conns[i].fd, w.conns[i].index = -1, int32(i)
	}
	if c.Verb != Pub && c.Verb != Sub {
		w.ledger = newLedger(c.spread(), w.Share.Subs.From, w.Share.Subs.len(), c.streams())
	}
	w.status.Wanted = len(w.conns)
	for i := range w.Share.Pubs.len() {
		w.pubs = append(w.pubs, w.newPublisher(&w.conns[w.Share.Subs.len()+i], w.Share.Pubs.From+i))
	}
	w.swept = w.clock.now()
	w.report(toBegin, "")
}

// enter begins a phase.
func (w *worker) enter(p Phase) {
	w.phase = p
	now := w.clock.now()
	switch p {
	case Connecting:
		w.ramp.begin(now, w.Connects, w.conns)
	case Pinging:
		w.pings.next = 0
	case Queueing:
		w.start(now)
	case Warmup:
		w.start(now)
	case Measure:
		w.mark(now)
		w.start(now)
	case Draining:
		w.ramp.stop()
		w.sending = false
		w.unmark(now)
	}
}

// start has publishers begin, or sessions come back, or clients come and go.
func (w *worker) start(now int64) {
	switch c := w.Config; {
	case c.Verb == Offline && w.phase == Measure:
		w.sending = false
		w.ramp.begin(now, w.Connects, w.conns[:w.Share.Subs.len()])
		return
	case w.sending:
		return
	case c.Churn && c.Verb == Conn:
		w.ramp.begin(now, w.Connects, w.conns)
	case c.Churn:
		for i := range w.conns {
			if w.conns[i].state == ready {
				w.turnRound(&w.conns[i])
			}
		}
	case c.Verb == Conn && c.Each > 0:
		w.pairUp()
	}
	w.sending = true
	if w.Rate == 0 {
		for _, p := range w.pubs {
			w.look(p)
		}
	} else if err := w.pace.begin(w, now); err != nil {
		w.fail(err)
	}
}

// settled reports a phase that has ended by itself.
func (w *worker) settled() {
	switch w.phase {
	case Connecting:
		if !w.ramp.over() {
			return
		}
		w.status.Elapsed = time.Duration(w.clock.now() - w.ramp.at)
	case Pinging:
		if w.pings.next < len(w.conns) || w.pings.out > 0 {
			return
		}
	case Queueing:
		if !w.spent() || w.counts.Acked < w.counts.Sent {
			return
		}
	case ending:
		if !w.ramp.over() {
			return
		}
		w.lastReport()
	default:
		return
	}
	if p := w.phase; p != ending {
		w.report(toPhase, p)
	}
	w.phase = ""
}

// ending is the phase in which sessions that were kept are ended.
const ending Phase = "end"

// spent says whether there is nothing left to send.
func (w *worker) spent() bool {
	return !slices.ContainsFunc(w.pubs, func(p *publisher) bool { return p.conn.state == ready && p.left > 0 })
}

// mark begins the measured interval.
func (w *worker) mark(now int64) {
	w.fold()
	m := &w.measure
	m.on, m.at, m.counts, m.rounds, m.cpu = true, now, w.counts, w.rounds, ownTime()
	m.brokers = w.brokerTimes()
}

// unmark ends it.
func (w *worker) unmark(now int64) {
	m := &w.measure
	if !m.on {
		return
	}
	w.fold()
	m.on = false
	r := &m.result
	for i, t := range w.brokerTimes() {
		r.Brokers = append(r.Brokers, max(0, t-m.brokers[i])) // 0: it has ended meanwhile
	}
	pid := os.Getpid()
	r.Elapsed, r.Counts, r.Rounds = time.Duration(now-m.at), w.counts.Sub(m.counts), w.rounds-m.rounds
	r.Process = Process{PID: pid, Name: program(pid), CPU: ownTime() - m.cpu}
	r.Process.Memory, r.Process.Peak = memory(pid)
}

// brokerTimes are the processor times of Config.PIDs, if this worker watches them; of
// one that has ended it is 0.
func (w *worker) brokerTimes() (all []time.Duration) {
	if !w.Lead {
		return nil
	}
	for _, pid := range w.Config.PIDs {
		d, _ := processorTime(pid)
		all = append(all, d)
	}
	return all
}

// fold empties the histograms of the interval: into those of the whole where that is
// what they are of, and into the one for the series.
func (w *worker) fold() {
	w.deliveries.flush(w.interval.Delivery)
	w.acks.flush(w.interval.Ack)
	i, shown := &w.interval, false
	for _, h := range []struct {
		from  *Histogram
		into  *Latencies
		whole bool
		shown bool
	}{
		{i.Delivery, &Latencies{Delivery: i.Delivery}, false, true},
		{i.Ack, &Latencies{Ack: i.Ack}, false, true},
		{i.Round, &Latencies{Round: i.Round}, false, true},
		{i.Connect, &Latencies{Connect: i.Connect}, true, true},
		{i.Ping, &Latencies{Ping: i.Ping}, true, false},
		{i.Lag, &Latencies{Lag: i.Lag}, false, false},
	} {
		if h.from.Count() == 0 {
			continue
		}
		if h.whole || w.measure.on {
			w.total.Merge(*h.into)
		}
		if h.shown && !shown {
			w.sample.Merge(h.from)
			shown = true
		}
		h.from.Reset()
	}
}

// repeated is a sample that has come so many times in a row: what one write has sent
// and one read has brought took equally long.
type repeated struct {
	d time.Duration
	n int64
}

// add records d in h, perhaps later.
func (r *repeated) add(h *Histogram, d int64) {
	if time.Duration(d) != r.d {
		r.flush(h)
		r.d = time.Duration(d)
	}
	r.n++
}

func (r *repeated) flush(h *Histogram) {
	if r.n > 0 {
		h.RecordTimes(r.d, r.n)
		r.n = 0
	}
}

// report tells the conductor how far the worker is.
func (w *worker) report(k orderKind, p Phase) { w.reports <- w.state(k, p) }

func (w *worker) state(k orderKind, p Phase) report {
	r := report{
		Kind: k, Phase: p, Connections: w.status, Connects: w.connects, Counts: w.counts, Rounds: w.rounds,
		CPU: ownTime(), Open: w.open, Spent: w.spent(), Failures: w.failed.list(),
	}
	r.Counts.Errors = w.failed.total
	if w.ledger != nil {
		r.Check = Check{
			Delivered: w.ledger.fresh, Duplicates: w.ledger.duplicates, Reordered: w.ledger.reordered, Foreign: w.foreign,
		}
	}
	return r
}

// tickReport is the report on an interval.
func (w *worker) tickReport() {
	w.fold()
	r := w.state(toTick, "")
	r.Sample, w.sample = w.sample, NewHistogram()
	w.reports <- r
}

// finishAll ends the sessions that were kept, then all.
func (w *worker) finishAll() {
	w.unmark(w.clock.now())
	w.sending = false
	w.finish = true
	for i := range w.conns {
		w.leave(&w.conns[i])
	}
	w.phase = ending
	if w.Config.Clean || w.Config.Verb == Pub {
		w.ramp.stop()
		return
	}
	w.ramp.begin(w.clock.now(), w.Connects, w.conns[:w.Share.Subs.len()])
}

// lastReport tells all that was seen.
func (w *worker) lastReport() {
	w.fold()
	r := w.state(toFinish, "")
	m := w.measure.result
	m.Latency = w.total
	r.Measured = &m
	w.reports <- r
}
