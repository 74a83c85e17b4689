package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"dunlin/proto/mqtt"
)

// DeviceOptions are what a Device is and does.
type DeviceOptions struct {
	Connect mqtt.Connect  // how it connects; Version 0: 5.0
	Filter  string        // that it subscribes to at QoS 1 when it has no session; "": none
	Addr    func() string // where it connects, asked each time
	Ping    time.Duration // how often it sends PINGREQ; 0: never
}

// Device is a client as devices are: it keeps its session, comes back by itself whenever its
// connection ends, acknowledges what comes and repeats what it publishes until that is
// acknowledged. It notes what happens, for a test to judge, and may be used from any goroutine.
type Device struct {
	o    DeviceOptions
	stop chan struct{}
	done chan struct{}

	mu struct {
		sync.Mutex
		conn    net.Conn // nil while it is away
		visits  []Visit
		refused map[mqtt.Reason]int
		failed  int // attempts without an answer
		last    error
		got     []string
		pending *mqtt.Publish // is to be acknowledged
		acked   chan struct{} // closed when it is
		id      uint16
		pinged  time.Time
		pings   []Ping
	}
}

// Visit is one connection that a server has accepted.
type Visit struct {
	Addr      string
	Began     time.Time // CONNACK
	Present   bool      // the session was
	Ended     time.Time // zero while it lasts
	Told      bool      // there was a DISCONNECT, with
	Reason    mqtt.Reason
	Reference string // of the server to use
}

// Ping is a PINGREQ with its answer.
type Ping struct {
	At   time.Time
	Took time.Duration
}

// NewDevice starts a device, which ends with the test.
func NewDevice(t testing.TB, o DeviceOptions) *Device {
	if o.Connect.Version == 0 {
		o.Connect.Version = mqtt.V5
	}
	if o.Connect.ReceiveMaximum == 0 && o.Connect.Version == mqtt.V5 {
		o.Connect.ReceiveMaximum = 65535
	}
	d := &Device{o: o, stop: make(chan struct{}), done: make(chan struct{})}
	d.mu.refused = make(map[mqtt.Reason]int)
	go d.live()
	t.Cleanup(d.Stop)
	return d
}

// Stop ends the device, without a goodbye.
func (d *Device) Stop() {
	d.mu.Lock()
	select {
	case <-d.stop:
	default:
		close(d.stop)
	}
	if d.mu.conn != nil {
		d.mu.conn.Close()
	}
	d.mu.Unlock()
	<-d.done
}

func (d *Device) stopped() bool {
	select {
	case <-d.stop:
		return true
	default:
		return false
	}
}

// live connects for as long as the device lives.
func (d *Device) live() {
	defer close(d.done)
	for !d.stopped() {
		if err := d.visit(); err != nil {
			d.mu.Lock()
			d.mu.failed++
			d.mu.last = err
			d.mu.Unlock()
			select { // refused or nobody there: a while later, and not all at a time
			case <-time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond):
			case <-d.stop:
			}
		}
	}
}

// visit is one connection. An error says that it never came about.
func (d *Device) visit() error {
	addr := d.o.Addr()
	conn, err := net.DialTimeout("tcp", addr, deadline)
	if err != nil {
		return err
	}
	defer conn.Close()
	v := d.o.Connect.Version
	conn.SetDeadline(time.Now().Add(deadline))
	if _, err := conn.Write(d.o.Connect.Append(nil, v)); err != nil {
		return err
	}
	from := packets{bufio.NewReaderSize(conn, 512), v}
	p, err := from.next()
	switch {
	case err != nil:
		return err
	case p.Kind != mqtt.CONNACK:
		return fmt.Errorf("%s instead of CONNACK", Describe(p))
	case p.Connack.Reason != mqtt.Success:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.mu.refused[p.Connack.Reason]++
		return fmt.Errorf("CONNACK %v", p.Connack.Reason)
	}
	conn.SetDeadline(time.Time{})
	if err := d.begin(conn, addr, p.Connack.SessionPresent); err != nil {
		return err
	}
	if d.o.Ping > 0 {
		over := make(chan struct{})
		defer close(over)
		go d.ping(conn, over)
	}
	var said *mqtt.Disconnect
	for {
		if p, err = from.next(); err != nil {
			break
		}
		if p.Kind == mqtt.DISCONNECT {
			said = &p.Disconnect
			continue
		}
		d.take(conn, p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.conn = nil
	last := &d.mu.visits[len(d.mu.visits)-1]
	if last.Ended = time.Now(); said != nil {
		last.Told, last.Reason, last.Reference = true, said.Reason, string(said.ServerReference)
	}
	return nil
}

// begin notes that the server has accepted, and goes on with what was to be done.
func (d *Device) begin(conn net.Conn, addr string, present bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped() {
		return errors.New("stopped")
	}
	d.mu.conn = conn
	d.mu.visits = append(d.mu.visits, Visit{Addr: addr, Began: time.Now(), Present: present})
	var b []byte
	if d.o.Filter != "" && !present {
		s := mqtt.Subscribe{PacketID: 65535, Filters: []mqtt.Subscription{{Filter: []byte(d.o.Filter), QoS: 1}}}
		b = s.Append(b, d.o.Connect.Version)
	}
	if d.mu.pending != nil {
		d.mu.pending.Dup = true
		b = d.mu.pending.Append(b, d.o.Connect.Version)
	}
	conn.Write(b) // where that fails the next read does
	return nil
}

// take does what an application does with a packet.
func (d *Device) take(conn net.Conn, p *mqtt.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch p.Kind {
	case mqtt.PUBLISH:
		d.mu.got = append(d.mu.got, string(p.Publish.Payload))
		if p.Publish.QoS == 1 {
			a := mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID}
			conn.Write(a.Append(nil, d.o.Connect.Version))
		}
	case mqtt.PUBACK:
		if d.mu.pending != nil && p.Ack.PacketID == d.mu.pending.PacketID && !p.Ack.Reason.Failed() {
			d.mu.pending = nil
			close(d.mu.acked)
		}
	case mqtt.PINGRESP:
		d.mu.pings = append(d.mu.pings, Ping{d.mu.pinged, time.Since(d.mu.pinged)})
		d.mu.pinged = time.Time{}
	}
}

// ping sends PINGREQ, one at a time, until over.
func (d *Device) ping(conn net.Conn, over chan struct{}) {
	tick := time.NewTicker(d.o.Ping)
	defer tick.Stop()
	d.mu.Lock()
	d.mu.pinged = time.Time{}
	d.mu.Unlock()
	for {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		d.mu.Lock()
		if d.mu.pinged.IsZero() {
			d.mu.pinged = time.Now()
			conn.Write(mqtt.AppendPingreq(nil))
		}
		d.mu.Unlock()
	}
}

// Publish has a message of QoS 1 acknowledged, over as many connections as that takes. It is
// false if the device was stopped before. One goroutine at a time publishes.
func (d *Device) Publish(topic, payload string) bool {
	acked := make(chan struct{})
	d.mu.Lock()
	d.mu.id = d.mu.id%65534 + 1
	d.mu.pending = &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: d.mu.id}
	d.mu.acked = acked
	if d.mu.conn != nil {
		d.mu.conn.Write(d.mu.pending.Append(nil, d.o.Connect.Version))
	}
	d.mu.Unlock()
	select {
	case <-acked:
		return true
	case <-d.stop:
		return false
	}
}

// Up says whether it is connected; if not the error says what was wrong last.
func (d *Device) Up() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.conn != nil {
		return nil
	}
	return fmt.Errorf("%s is not connected, %d times not let in: %w", d.o.Connect.ClientID, d.mu.failed, d.mu.last)
}

// Visits are the connections that it had, and has, by age.
func (d *Device) Visits() []Visit {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Visit(nil), d.mu.visits...)
}

// Refused is how often a server told it that it may not come in, for each reason.
func (d *Device) Refused() map[mqtt.Reason]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[mqtt.Reason]int, len(d.mu.refused))
	for why, n := range d.mu.refused {
		all[why] = n
	}
	return all
}

// Got are the payloads that came, repetitions included.
func (d *Device) Got() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.mu.got...)
}

// Pings are those that were answered, by age.
func (d *Device) Pings() []Ping {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Ping(nil), d.mu.pings...)
}

// packets reads packets one after the other, into memory of their own.
type packets struct {
	from *bufio.Reader
	v    mqtt.Version
}

func (r packets) next() (*mqtt.Packet, error) {
	b := make([]byte, 2, 64)
	if _, err := io.ReadFull(r.from, b); err != nil {
		return nil, err
	}
	for b[len(b)-1] >= 0x80 && len(b) < 5 {
		c, err := r.from.ReadByte()
		if err != nil {
			return nil, err
		}
		b = append(b, c)
	}
	length := 0
	for i, c := range b[1:] {
		length |= int(c&0x7f) << (7 * i)
	}
	head := len(b)
	b = append(b, make([]byte, length)...)
	if _, err := io.ReadFull(r.from, b[head:]); err != nil {
		return nil, err
	}
	f, _, err := mqtt.Cut(b, 1<<28)
	if err != nil {
		return nil, err
	}
	p := new(mqtt.Packet)
	return p, mqtt.Decode(f, r.v, p)
}
