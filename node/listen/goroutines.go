package listen

import (
	"io"
	"net"
	"sync"
	"time"
)

// goroutines is the backend of every system: package net, with a reader goroutine
// for each connection and a writer for each with bytes under way.
type goroutines struct{}

// goDriver shows the connections of package net as sockets that never block.
type goDriver struct {
	mu struct {
		sync.Mutex
		events []event
	}
	signal  chan struct{} // there are events, or wake was called
	timer   *time.Timer
	sockets slab[*goSocket] // the loop's
	running sync.WaitGroup  // readers, writers and acceptors
}

// processors adds none: nothing blocks without the scheduler's knowledge.
func (goroutines) processors(int) {}

func (goroutines) driver() (driver, error) {
	return &goDriver{signal: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}, nil
}

func (d *goDriver) close() {
	d.timer.Stop()
	d.running.Wait()
}

func (d *goDriver) wait(t time.Duration, events []event) []event {
	if t > 0 {
		d.timer.Reset(t)
		select {
		case <-d.signal:
		case <-d.timer.C:
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	events = append(events, d.mu.events...)
	d.mu.events = d.mu.events[:0]
	return events
}

func (d *goDriver) wake() {
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

func (d *goDriver) report(key uint64, what uint8) {
	d.mu.Lock()
	d.mu.events = append(d.mu.events, event{key, what})
	d.mu.Unlock()
	d.wake()
}

func (d *goDriver) at(sock int32) *goSocket { return *d.sockets.at(uint32(sock)) }

func (d *goDriver) watch(sock int32, key uint64) error {
	s := d.at(sock)
	s.key, s.mu.reading = key, true
	d.running.Go(s.readAll)
	return nil
}

// watchWrite has nothing to do: a refused write is remembered by the socket.
func (d *goDriver) watchWrite(int32, uint64) error { return nil }

func (d *goDriver) read(sock int32, b []byte) (int, error)  { return d.at(sock).read(b) }
func (d *goDriver) write(sock int32, b []byte) (int, error) { return d.at(sock).write(b) }
func (d *goDriver) closeWrite(sock int32)                   { d.at(sock).closeWrite() }

// probe cannot fail but for a connection that has, of which the loop hears.
func (d *goDriver) probe(sock int32, after int) {
	_ = d.at(sock).conn.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   true,
		Idle:     time.Duration(after) * time.Second,
		Interval: keepAliveInterval * time.Second,
		Count:    keepAliveCount,
	})
}

func (d *goDriver) hangUp(sock int32) {
	d.at(sock).hangUp()
	d.sockets.put(uint32(sock))
}

const (
	goReadBuffer = 16 << 10
	goWriteMax   = 64 << 10 // bytes under way in a writer
)

// goSocket is a connection of package net.
type goSocket struct {
	d    *goDriver
	conn *net.TCPConn
	key  uint64

	mu struct {
		sync.Mutex
		in       []byte // read, and not yet taken by the loop
		err      error  // of the reader or the writer; io.EOF: end of stream
		reading  bool   // the reader is there
		writing  bool   // a writer is under way
		refused  bool   // the loop could not write all
		finished bool   // nothing will be written after what is under way
		closed   bool   // hangUp was called
	}
	taken sync.Cond // in is empty, or closed
}

func newGoSocket(d *goDriver, c *net.TCPConn) *goSocket {
	s := &goSocket{d: d, conn: c}
	s.taken.L = &s.mu
	return s
}

// readAll is the reader: it has one buffer of bytes at the loop's disposal, and
// reads on when they are taken.
func (s *goSocket) readAll() {
	buf := make([]byte, goReadBuffer)
	for {
		n, err := s.conn.Read(buf)
		if s.tookIn(buf[:n], err); err != nil {
			return
		}
	}
}

// tookIn reports what the reader has read, and waits until it is taken. After
// hangUp it is dropped.
func (s *goSocket) tookIn(b []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := canRead
	if err != nil {
		s.failLocked(err)
		what |= peerDone
		s.mu.reading = false
		defer s.closeLocked()
	}
	if s.mu.closed {
		return
	}
	s.mu.in = b
	s.d.report(s.key, what)
	for len(s.mu.in) > 0 && !s.mu.closed {
		s.taken.Wait()
	}
}

// failLocked keeps the first error.
func (s *goSocket) failLocked(err error) {
	if s.mu.err == nil || s.mu.err == io.EOF {
		s.mu.err = err
	}
}

func (s *goSocket) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.in) > 0 {
		n := copy(b, s.mu.in)
		if s.mu.in = s.mu.in[n:]; len(s.mu.in) == 0 {
			s.taken.Signal()
		}
		return n, nil
	}
	switch s.mu.err {
	case nil:
		return 0, errAgain
	case io.EOF:
		return 0, nil
	}
	return 0, s.mu.err
}

func (s *goSocket) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mu.err; err != nil && err != io.EOF {
		return 0, err
	}
	if s.mu.writing {
		s.mu.refused = true
		return 0, errAgain
	}
	n := min(len(b), goWriteMax)
	s.mu.refused = n < len(b)
	s.mu.writing = true
	out := append([]byte(nil), b[:n]...)
	s.d.running.Go(func() { s.writeOut(out) })
	return n, nil
}

// writeOut is the writer.
func (s *goSocket) writeOut(out []byte) {
	_, err := s.conn.Write(out)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.writing = false
	what := uint8(0)
	if s.mu.refused {
		what = canWrite
	}
	if err != nil {
		s.failLocked(err)
		what |= canRead | peerDone
	}
	if s.mu.finished {
		_ = s.conn.CloseWrite()
	}
	s.closeLocked()
	if what != 0 && !s.mu.closed {
		s.d.report(s.key, what)
	}
}

func (s *goSocket) closeWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishLocked()
}

func (s *goSocket) finishLocked() {
	s.mu.finished = true
	if !s.mu.writing {
		_ = s.conn.CloseWrite()
	}
}

// hangUp gives a writer that is under way a second to finish, as the kernel would
// give it more, and the peer the same to end its stream: what the reader has not
// read from the kernel yet would make it a reset.
func (s *goSocket) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	s.taken.Signal()
	if s.mu.reading || s.mu.writing {
		_ = s.conn.SetDeadline(time.Now().Add(time.Second))
		s.finishLocked()
	}
	s.closeLocked()
}

// closeLocked closes the connection after hangUp, when reader and writer have ended.
func (s *goSocket) closeLocked() {
	if s.mu.closed && !s.mu.reading && !s.mu.writing {
		s.conn.Close()
	}
}
