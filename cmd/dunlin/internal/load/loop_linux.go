package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/proto/mqtt"
)

// patience is how long nothing may come while something is under way. A turn of
// the loop counts as one wait at most: that the generator itself was not let run
// says nothing about the broker.
const (
	patience = 5 * time.Second
	oneWait  = 100 * time.Millisecond
)

// loop is a run in progress. One thread owns all of it.
type loop struct {
	scenario   Scenario
	epoll      int
	timer      int // of a rate, else -1
	conns      []*conn
	publishers []*publisher
	due        []*publisher
	turn       int // the publisher whose turn it is, with a rate

	stopped   bool // publishing has ended
	delivered int
	latencies latencies
	quiet     time.Duration // since anything came

	buf []byte // one read, behind what was left of the one before
	out []byte // the acknowledgements of one read
}

func run(ctx context.Context, o Options) (res Outcome, err error) {
	if o.Work != Messages {
		return work(ctx, o)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &loop{scenario: o.Scenario, timer: -1, buf: make([]byte, 256<<10)}
	defer l.close()
	defer func() {
		if errors.Is(err, errStalled) {
			err = fmt.Errorf("%w: %d deliveries are missing", err, l.missing())
		}
	}()
	if err := l.open(o); err != nil {
		return Outcome{}, err
	}
	res.Scenario = o.Name

	if err := l.start(); err != nil {
		return Outcome{}, err
	}
	if err := l.until(ctx, monotonic()+int64(o.Warmup)); err != nil {
		return Outcome{}, err
	}
	began, cpu, own, err := l.reading(o.Processes)
	if err != nil {
		return Outcome{}, err
	}
	l.delivered, l.latencies = 0, l.latencies[:0]
	if err := l.until(ctx, monotonic()+int64(o.Duration)); err != nil {
		return Outcome{}, err
	}
	ended, cpuEnd, ownEnd, err := l.reading(o.Processes)
	if err != nil {
		return Outcome{}, err
	}
	res.Elapsed, res.CPU, res.Own = time.Duration(ended-began), cpuEnd-cpu, ownEnd-own
	res.Delivered = l.delivered
	if o.Rate > 0 {
		res.Median, res.P99 = time.Duration(l.latencies.quantile(0.5)), time.Duration(l.latencies.quantile(0.99))
	}

	if err := l.drain(ctx); err != nil {
		return Outcome{}, err
	}
	if o.Persistent {
		if err := endSessions(o); err != nil {
			return Outcome{}, err
		}
	}
	res.Missing = l.missing()
	for _, p := range l.publishers {
		res.Late += p.progress.late
	}
	return res, nil
}

// missing is the number of deliveries that have not come yet.
func (l *loop) missing() (n int) {
	for _, p := range l.publishers {
		n += p.progress.missing()
	}
	return n
}

// reading takes the clocks at an end of the measured interval.
func (l *loop) reading(pids []int) (now int64, cpu, own time.Duration, err error) {
	if cpu, err = cpuTime(pids); err == nil {
		own, err = ownTime()
	}
	return monotonic(), cpu, own, err
}

// open connects everybody, subscribers first.
func (l *loop) open(o Options) (err error) {
	if o.Window > ring/2 {
		return fmt.Errorf("load: a window of %d is more than %d", o.Window, ring/2)
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("load: epoll: %w", err)
	}
	if o.Persistent { // an earlier run that was stopped has left its own
		if err := endSessions(o); err != nil {
			return err
		}
	}
	for i := range o.Subscribers {
		c, err := dial(o.Subscribe[i%len(o.Subscribe)], subscriberID(i), !o.Persistent)
		if err != nil {
			return err
		}
		c.subscriber = i
		l.conns = append(l.conns, c)
		if err := c.subscribe(l.scenario.filter(i), l.scenario.QoS); err != nil {
			return err
		}
	}
	for i := range o.Publishers {
		c, err := dial(o.Publish[i%len(o.Publish)], fmt.Sprintf("pub-%d", i), true)
		if err != nil {
			return err
		}
		l.conns = append(l.conns, c)
		c.publisher = newPublisher(l.scenario, i, c)
		l.publishers = append(l.publishers, c.publisher)
	}
	for i, c := range l.conns {
		if err := unix.SetNonblock(c.fd, true); err != nil {
			return fmt.Errorf("load: socket: %w", err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
			return fmt.Errorf("load: epoll: %w", err)
		}
	}
	return nil
}

func subscriberID(i int) string { return fmt.Sprintf("sub-%d", i) }

// endSessions has every subscriber begin a session that ends at once.
func endSessions(o Options) error {
	for i := range o.Subscribers {
		c, err := dial(o.Subscribe[i%len(o.Subscribe)], subscriberID(i), true)
		if err != nil {
			return err
		}
		c.drop()
	}
	return nil
}

func (l *loop) close() {
	for _, c := range l.conns {
		unix.Close(c.fd)
	}
	unix.Close(l.epoll)
	if l.timer >= 0 {
		unix.Close(l.timer)
	}
}

// timerEvent marks the timer among the connections' indexes.
const timerEvent = -1

// start has publishing begin: at a rate by a timer that ticks for each message,
// else at once.
func (l *loop) start() error {
	if l.scenario.Rate == 0 {
		for _, p := range l.publishers {
			l.look(p)
		}
		return nil
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("load: timer: %w", err)
	}
	l.timer = fd
	tick := unix.NsecToTimespec(int64(time.Second) / int64(l.scenario.Rate))
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil); err != nil {
		return fmt.Errorf("load: timer: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerEvent}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("load: epoll: %w", err)
	}
	return nil
}

// until runs the loop until a moment of the monotonic clock.
func (l *loop) until(ctx context.Context, end int64) error {
	return l.while(ctx, func(now int64) bool { return now < end })
}

// drain ends publishing and waits for what is under way, until it has come or
// nothing comes any more.
func (l *loop) drain(ctx context.Context) error {
	l.stopped = true
	err := l.while(ctx, func(int64) bool {
		for _, p := range l.publishers {
			if p.progress.underway() > 0 {
				return true
			}
		}
		return false
	})
	if errors.Is(err, errStalled) {
		return nil // what is missing is in the result
	}
	return err
}

var errStalled = errors.New("load: nothing comes any more")

// while turns the loop as long as cond holds.
func (l *loop) while(ctx context.Context, cond func(now int64) bool) error {
	events := make([]unix.EpollEvent, 256)
	for last := monotonic(); ; {
		now := monotonic()
		l.quiet += min(time.Duration(now-last), oneWait)
		last = now
		switch {
		case !cond(now):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case l.quiet > patience:
			return errStalled
		}
		if err := l.fill(); err != nil {
			return err
		}
		n, err := unix.EpollWait(l.epoll, events, int(oneWait.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("load: epoll: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			if err := l.handle(ev); err != nil {
				return err
			}
		}
	}
}

// look lists p to be filled before the loop waits again.
func (l *loop) look(p *publisher) {
	if !p.due {
		p.due = true
		l.due = append(l.due, p)
	}
}

func (l *loop) fill() error {
	for _, p := range l.due {
		p.due = false
		if l.stopped || l.scenario.Rate > 0 {
			continue
		}
		if err := p.fill(); err != nil {
			return err
		}
		if err := l.arm(p.conn); err != nil {
			return err
		}
	}
	l.due = l.due[:0]
	return nil
}

func (l *loop) handle(ev unix.EpollEvent) error {
	if ev.Fd == timerEvent {
		return l.tick()
	}
	c := l.conns[ev.Fd]
	if ev.Events&unix.EPOLLOUT != 0 {
		if err := c.flush(); err != nil {
			return err
		}
		if c.publisher != nil {
			l.look(c.publisher)
		}
	}
	if ev.Events&^unix.EPOLLOUT != 0 {
		if err := l.read(c); err != nil {
			return err
		}
	}
	return l.arm(c)
}

// arm asks to be told when the kernel takes bytes again, while there are some.
func (l *loop) arm(c *conn) error {
	if (len(c.out) > 0) == c.waiting {
		return nil
	}
	c.waiting = !c.waiting
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.index(c))}
	if c.waiting {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		return fmt.Errorf("load: epoll: %w", err)
	}
	return nil
}

// index is c's place in conns: subscribers, then publishers.
func (l *loop) index(c *conn) int {
	if c.publisher == nil {
		return c.subscriber
	}
	return l.scenario.Subscribers + c.publisher.index
}

// tick sends a message for each time that the timer has fired, by the publishers
// in turn, one a write.
func (l *loop) tick() error {
	var fired [8]byte
	if _, err := unix.Read(l.timer, fired[:]); err != nil {
		return nil // not yet
	}
	for range binary.NativeEndian.Uint64(fired[:]) {
		p := l.publishers[l.turn]
		l.turn = (l.turn + 1) % len(l.publishers)
		if l.stopped || p.room() <= 0 {
			continue
		}
		if err := p.send(1); err != nil {
			return err
		}
		if err := l.arm(p.conn); err != nil {
			return err
		}
	}
	return nil
}

// read takes what has come and answers it in one write.
func (l *loop) read(c *conn) error {
	have := copy(l.buf, c.in)
	n, err := unix.Read(c.fd, l.buf[have:])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("load: read: %w", err)
	case n == 0:
		return fmt.Errorf("load: the broker has closed a connection: %w", io.ErrUnexpectedEOF)
	}
	now := monotonic()
	l.quiet = 0
	b := l.buf[:have+n]
	l.out = l.out[:0]
	for {
		f, n, err := mqtt.Cut(b, 1<<20)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if n == 0 {
			break
		}
		b = b[n:]
		if err := l.packet(c, f, now); err != nil {
			return err
		}
	}
	c.in = append(c.in[:0], b...)
	if len(l.out) == 0 {
		return nil
	}
	return c.write(l.out)
}

// packet takes one packet and appends its answer to l.out.
func (l *loop) packet(c *conn, f mqtt.Frame, now int64) error {
	switch k := f.Kind(); {
	case k == mqtt.PUBLISH && c.publisher == nil:
		return l.message(c, f, now)
	case len(f.Body) < 2:
		return fmt.Errorf("load: unexpected %v", k)
	case k == mqtt.PUBREL:
		l.out = append(l.out, byte(mqtt.PUBCOMP)<<4, 2, f.Body[0], f.Body[1])
	case k == mqtt.PUBREC:
		l.out = append(l.out, byte(mqtt.PUBREL)<<4|2, 2, f.Body[0], f.Body[1])
	case k == mqtt.PUBACK, k == mqtt.PUBCOMP:
		c.publisher.acked++
		l.look(c.publisher)
	default:
		return fmt.Errorf("load: unexpected %v", k)
	}
	return nil
}

// message takes a delivery.
func (l *loop) message(c *conn, f mqtt.Frame, now int64) error {
	at := len(f.Body) - Payload
	q := f.First >> 1 & 3
	if at < 2 || q != l.scenario.QoS {
		return fmt.Errorf("load: a message of QoS %d and %d bytes that nobody has sent", q, len(f.Body))
	}
	payload := f.Body[at:]
	from := binary.BigEndian.Uint32(payload[atPublisher:])
	if int(from) >= len(l.publishers) {
		return fmt.Errorf("load: a message of publisher %d, who does not exist", from)
	}
	switch q {
	case 1:
		l.out = append(l.out, byte(mqtt.PUBACK)<<4, 2, f.Body[at-2], f.Body[at-1])
	case 2:
		l.out = append(l.out, byte(mqtt.PUBREC)<<4, 2, f.Body[at-2], f.Body[at-1])
	}
	p := l.publishers[from]
	p.progress.deliver(binary.BigEndian.Uint64(payload[atNumber:]), c.subscriber)
	l.delivered++
	if l.scenario.Rate > 0 {
		l.latencies = append(l.latencies, now-int64(binary.BigEndian.Uint64(payload[atTime:])))
	} else {
		l.look(p)
	}
	return nil
}
