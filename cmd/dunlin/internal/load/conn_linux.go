package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/node/listen/websocket"
	"dunlin/proto/mqtt"
)

// conn is one connection of the tester: a raw socket that the worker reads and writes
// without waiting. There are very many.
type conn struct {
	fd         int32 // -1: none
	index      int32 // in worker.conns
	generation int32 // of the socket, which tells its events from its forerunner's
	round      int32 // of a churn
	state      state
	waiting    bool // for the kernel to take more
	pinged     bool // a PINGREQ after the ramp was answered
	counted    bool // in Connections.Connected
	awaited    bool // in worker.pings.out

	in    []byte // a packet's beginning that waits for its end
	out   []byte // what the kernel has not taken yet
	layer *layer // nil: plain TCP

	publisher *publisher // nil: publishes nothing
	since     int64      // when connecting began, or the round
	last      int64      // about when something was written
	asked     int64      // when a PINGREQ was written that has no answer yet, else 0
}

// state is how far a connection has come.
type state uint8

const (
	idle          state = iota // there is none
	dialing                    // TCP
	securing                   // TLS, which a goroutine of its own does
	upgrading                  // to a WebSocket
	greeting                   // CONNECT is out
	subscribing                // SUBSCRIBE is out
	ready                      // it is what it should be; so it is in what follows
	resubscribing              // SUBSCRIBE is out, of a churn
	unsubscribing              // UNSUBSCRIBE is out, of a churn
)

// place is where a broker is.
type place struct {
	name   string // as it was given
	host   string // for TLS and HTTP
	family int
	addr   unix.Sockaddr
}

// resolve finds the addresses of brokers, those of publishers behind the others.
func resolve(c Config) (all []place, err error) {
	for _, b := range append(slices.Clone(c.Brokers), c.PublishTo...) {
		tcp, err := net.ResolveTCPAddr("tcp", b)
		if err != nil {
			return nil, fmt.Errorf("broker %q: %w", b, err)
		}
		ap := tcp.AddrPort()
		p := place{name: b, family: unix.AF_INET6, addr: socketAddr(ap)}
		if ap.Addr().Unmap().Is4() {
			p.family = unix.AF_INET
		}
		p.host, _, _ = net.SplitHostPort(b)
		all = append(all, p)
	}
	return all, nil
}

func socketAddr(ap netip.AddrPort) unix.Sockaddr {
	if a := ap.Addr().Unmap(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// subscriber says whether c is one, and which of the whole run; else it is which
// publisher.
func (w *worker) who(c *conn) (i int, subscriber bool) {
	if n := w.Share.Subs.len(); int(c.index) >= n {
		return w.Share.Pubs.From + int(c.index) - n, false
	}
	return w.Share.Subs.From + int(c.index), true
}

// place is the broker of c.
func (w *worker) place(c *conn) *place {
	i, subscriber := w.who(c)
	n := len(w.Config.Brokers)
	if rest := len(w.places) - n; !subscriber && rest > 0 {
		return &w.places[n+i%rest]
	}
	return &w.places[i%n]
}

func (w *worker) clientID(c *conn) string {
	i, subscriber := w.who(c)
	switch {
	case !subscriber:
		return w.Config.clientID("pub", i)
	case w.Config.Churn && w.Config.Verb == Conn: // names come back, as they do
		return fmt.Sprintf("%s-%d", w.Config.clientID("conn", i), c.round%1000)
	}
	return w.Config.clientID(w.Config.kind(), i)
}

// ramp is connects that are begun at a rate.
type ramp struct {
	at      int64
	rate    float64 // a second; 0: none
	queue   []conn
	again   []*conn // of a churn, to be tried once more
	begun   int
	pending int
}

func (r *ramp) begin(now int64, rate float64, queue []conn) {
	*r = ramp{at: now, rate: rate, queue: queue, pending: r.pending}
}

// stop begins no more.
func (r *ramp) stop() { r.queue, r.again = nil, nil }

// over says whether all have succeeded or failed.
func (r *ramp) over() bool { return len(r.queue) == 0 && r.pending == 0 }

// wait is how long until the next is due, if that is what it waits for.
func (r *ramp) wait(now int64, pending int) (time.Duration, bool) {
	if len(r.queue) == 0 || r.pending >= pending {
		return 0, false
	}
	if r.rate == 0 {
		return 0, true
	}
	return time.Duration(r.at + int64(float64(r.begun)*1e9/r.rate) - now), true
}

// dialSome begins the connects that are due.
func (w *worker) dialSome(now int64) {
	r := &w.ramp
	for {
		d, soon := r.wait(now, w.Pending)
		if !soon || d > 0 {
			return
		}
		c := &r.queue[0]
		r.queue = r.queue[1:]
		r.begun++
		if c.state == idle {
			w.dial(c)
		}
	}
}

// dial begins to connect.
func (w *worker) dial(c *conn) {
	w.ramp.pending++
	c.since, c.state = w.clock.now(), dialing
	c.last, c.asked, c.pinged = w.swept, 0, false
	p := w.place(c)
	fd, err := unix.Socket(p.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		w.broken(c, err)
		return
	}
	c.fd = int32(fd)
	if err := w.prepare(c); err != nil {
		w.broken(c, err)
		return
	}
	err = unix.Connect(fd, p.addr)
	switch {
	case err == nil:
		w.watch(c, unix.EPOLL_CTL_ADD)
		w.dialed(c)
	case errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EINTR): // it goes on by itself
		c.waiting = true
		w.watch(c, unix.EPOLL_CTL_ADD)
	default:
		w.broken(c, err)
	}
}

// prepare sets the socket's options and its source.
func (w *worker) prepare(c *conn) error {
	fd := int(c.fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if len(w.Config.Sources) == 0 {
		return nil
	}
	i, subscriber := w.who(c)
	if !subscriber {
		i += w.Config.Subscribers
	}
	source, err := netip.ParseAddr(w.Config.Sources[i%len(w.Config.Sources)])
	if err != nil {
		return err
	}
	// The port is chosen with the destination, so that it may serve several.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, socketAddr(netip.AddrPortFrom(source, 0)))
}

// watch tells epoll what c waits for.
func (w *worker) watch(c *conn, operation int) {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.index, Pad: c.generation}
	if c.waiting {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(w.epoll, operation, int(c.fd), &ev); err != nil {
		w.fail(fmt.Errorf("epoll: %w", err))
	}
}

// dialed goes on when TCP is connected.
func (w *worker) dialed(c *conn) {
	switch w.Config.Transport {
	case "tls", "wss":
		w.secureConn(c)
	case "ws":
		c.layer = &layer{frames: websocket.NewServerReader()}
		w.upgrade(c)
	default:
		w.greet(c)
	}
}

// greet sends CONNECT.
func (w *worker) greet(c *conn) {
	cfg := w.Config
	c.state = greeting
	i, subscriber := w.who(c)
	user := cfg.fill(cfg.Username, "", i, 0)
	m := mqtt.Connect{
		CleanStart: cfg.Clean || !subscriber || w.finish, KeepAlive: uint16(cfg.KeepAlive / time.Second),
		ClientID: []byte(w.clientID(c)), RequestProblemInfo: true,
		HasUsername: cfg.Username != "", Username: []byte(user),
		HasPassword: cfg.Password != "", Password: []byte(cfg.Password),
	}
	if !m.CleanStart {
		m.SessionExpiry = cfg.Expiry
	}
	w.packet = m.Append(w.packet[:0], cfg.Version)
	w.write(c, w.packet)
}

// greeted goes on when CONNACK has come.
func (w *worker) greeted(c *conn) {
	now := w.clock.now()
	w.connects++
	switch {
	case w.phase == ending:
		w.leave(c)
		return
	case w.Config.Churn && w.Config.Verb == Conn:
		w.came(c)
		w.round(c, now)
		w.drop(c)
		w.ramp.pending--
		w.redial(c)
		return
	}
	w.interval.Connect.Record(time.Duration(now - c.since))
	if i, subscriber := w.who(c); subscriber && !w.Config.Churn && !c.counted {
		if f := w.Config.filter(i, 0); f != "" {
			c.state = subscribing
			w.subscribe(c, f)
			return
		}
	}
	w.arrived(c)
}

// arrived notes that c is all that it should be.
func (w *worker) arrived(c *conn) {
	c.state = ready
	w.came(c)
	w.open++
	w.ramp.pending--
	if c.publisher != nil {
		w.look(c.publisher)
	}
}

// came counts a client that has connected at least once.
func (w *worker) came(c *conn) {
	if !c.counted {
		c.counted = true
		w.status.Connected++
	}
}

func (w *worker) subscribe(c *conn, filter string) {
	m := mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: mqtt.QoS(w.Config.QoS)}}}
	w.packet = m.Append(w.packet[:0], w.Config.Version)
	w.write(c, w.packet)
}

// round counts one of a churn.
func (w *worker) round(c *conn, now int64) {
	w.rounds++
	c.round++
	w.interval.Round.Record(time.Duration(now - c.since))
}

// redial begins the next round of a client that has gone.
func (w *worker) redial(c *conn) {
	if w.sending {
		w.dial(c)
	}
}

// turnRound begins the next round of a client that subscribes and unsubscribes.
func (w *worker) turnRound(c *conn) {
	if !w.sending && c.round > 0 {
		return
	}
	i, _ := w.who(c)
	c.since, c.state = w.clock.now(), resubscribing
	w.subscribe(c, w.Config.filter(i, int(c.round)))
}

// suback takes the answer to SUBSCRIBE.
func (w *worker) suback(c *conn) {
	if c.state == subscribing {
		w.arrived(c)
		return
	}
	i, _ := w.who(c)
	m := mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(w.Config.filter(i, int(c.round)))}}
	w.packet = m.Append(w.packet[:0], w.Config.Version)
	c.state = unsubscribing
	w.write(c, w.packet)
}

// unsuback takes the answer to UNSUBSCRIBE.
func (w *worker) unsuback(c *conn) {
	w.round(c, w.clock.now())
	c.state = ready
	w.turnRound(c)
}

// drop closes the connection so that neither side remembers it: its port is free at
// once.
func (w *worker) drop(c *conn) {
	if c.fd >= 0 {
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	w.shut(c)
}

// shut closes the connection.
func (w *worker) shut(c *conn) {
	if c.fd >= 0 && c.state != securing { // else the goroutine has the socket, and closes it
		unix.Close(int(c.fd))
	}
	c.fd, c.state, c.waiting, c.layer, c.asked = -1, idle, false, nil, 0
	c.generation++
	c.in, c.out = nil, nil
}

// leave ends a connection as it should be ended.
func (w *worker) leave(c *conn) {
	switch {
	case c.state == idle:
		return
	case c.state >= ready:
		w.open--
	default:
		w.ramp.pending--
	}
	w.unawait(c)
	if c.state >= greeting {
		w.write(c, []byte{byte(mqtt.DISCONNECT) << 4, 0})
	}
	w.shut(c)
}

// broken ends a connection that has failed, and counts it.
func (w *worker) broken(c *conn, err error) {
	if c.state == idle {
		return
	}
	what := "connect"
	switch {
	case w.phase == ending:
		what = "end session"
	case c.state >= ready:
		what = "connection"
		w.open--
		w.status.Lost++
		if c.pinged {
			w.status.Held--
		}
		w.unawait(c)
	case c.state == subscribing:
		what = "subscribe"
	}
	if c.state < ready {
		w.ramp.pending--
	}
	w.failed.add(what, reason(err), func() string { return w.clientID(c) + " at " + w.place(c).name })
	w.shut(c)
	if w.Config.Churn && w.Config.Verb == Conn {
		w.ramp.again = append(w.ramp.again, c)
	}
}

// errClosed is the error of a connection that the broker has closed without a word.
var errClosed = errors.New("closed by the broker")

// errSilent is the error of a connection whose broker does not answer.
var errSilent = errors.New("no answer")

// reason is an error without what differs between clients.
func reason(err error) string {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed.Error()
	}
	return err.Error()
}

// part has subscribers leave their sessions.
func (w *worker) part() {
	for i := range w.Share.Subs.len() {
		w.leave(&w.conns[i])
	}
}

// sweepEvery is how often connections are looked over: for keep-alives that are due
// and answers that are overdue.
const sweepEvery = 500 * time.Millisecond

func (w *worker) sweep(now int64) {
	again := w.ramp.again
	w.ramp.again = nil
	for _, c := range again {
		w.redial(c)
	}
	patience := int64(w.Config.Patience)
	rest := int64(w.Config.KeepAlive) * 3 / 4
	for i := range w.conns {
		switch c := &w.conns[i]; {
		case c.state == idle:
		case c.state != ready:
			if now-c.since > patience {
				w.broken(c, errSilent)
			}
		case c.asked > 0:
			if now-c.asked > patience {
				if !c.pinged {
					w.status.Unanswered++
				}
				w.broken(c, errors.New("no answer to PINGREQ"))
			}
		case rest > 0 && now-c.last > rest:
			w.ping(c, now)
		}
	}
}

// ping asks c for a sign of life.
func (w *worker) ping(c *conn, now int64) {
	c.asked = now
	w.write(c, []byte{byte(mqtt.PINGREQ) << 4, 0})
}

// someAtOnce is how many PINGREQs of the phase Pinging wait for their answers at once:
// a million at once would measure their own queue, and run out of patience with it.
const someAtOnce = 128

// askSome goes on with the phase Pinging.
func (w *worker) askSome(now int64) {
	if w.phase != Pinging {
		return
	}
	for ; w.pings.out < someAtOnce && w.pings.next < len(w.conns); w.pings.next++ {
		c := &w.conns[w.pings.next]
		if c.state != ready {
			continue
		}
		c.awaited = true
		w.pings.out++
		if c.asked == 0 { // else one is under way to keep it alive
			w.ping(c, now)
		}
	}
}

// pong takes the answer to PINGREQ.
func (w *worker) pong(c *conn, now int64) {
	if c.asked == 0 {
		return
	}
	w.interval.Ping.Record(time.Duration(now - c.asked))
	c.asked = 0
	w.unawait(c)
	if !c.pinged {
		c.pinged = true
		w.status.Held++
	}
}

// unawait notes that c's answer is not waited for any more.
func (w *worker) unawait(c *conn) {
	if c.awaited {
		c.awaited = false
		w.pings.out--
	}
}
