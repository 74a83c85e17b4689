package fuzz

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"dunlin/proto/mqtt"
)

// Target is where the listeners of one node are.
type Target struct{ TCP, TLS, WS, WSS string }

func (t Target) at(w Way) string { return [ways]string{t.TCP, t.TLS, t.WS, t.WSS, t.TLS}[w] }

// Player plays scripts.
type Player struct {
	Targets  []Target
	Patience time.Duration // how long a node may take to end a connection, or to answer

	mu struct {
		sync.Mutex
		accepted, refused, answers int
	}
}

// await is how long a client waits before it goes on without an answer.
const await = 100 * time.Millisecond

// A Finding is what a node must not have done.
type Finding struct{ err error }

func (f *Finding) Error() string { return f.err.Error() }

func finding(format string, args ...any) error { return &Finding{fmt.Errorf(format, args...)} }

// Play plays one. The error is a Finding, or says that the script could not be played
// because there was nobody.
func (p *Player) Play(s *Script) error {
	c, err := p.dial(s)
	if err != nil || c == nil {
		return err
	}
	defer c.Close()
	e := &hearing{ear: ear{web: s.Way.web()}, judged: s.Way != Stranger, news: make(chan struct{}, 1), done: make(chan struct{})}
	start := sync.OnceFunc(func() { go e.listen(c) })
	if !s.Deaf {
		start()
	}
	for _, step := range s.Steps {
		switch {
		case step.Pause > 0:
			time.Sleep(step.Pause)
		case step.Await:
			e.await(await)
		default:
			c.SetWriteDeadline(time.Now().Add(p.Patience))
			if _, err := c.Write(step.Write); errors.Is(err, os.ErrDeadlineExceeded) && !s.Deaf {
				return finding("the node takes nothing and ends nothing")
			}
		}
	}
	start()
	err = p.end(s, c, e)
	c.Close()
	<-e.done
	p.count(e)
	if e.err != nil {
		return finding("the node says what it must not: %w", e.err)
	}
	return err
}

// end leaves as the script says.
func (p *Player) end(s *Script, c net.Conn, e *hearing) error {
	switch s.End {
	case Reset:
		if tcp, ok := raw(c).(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		raw(c).Close()
		return nil
	case Ping:
		if err := p.ping(s, c, e); err != nil {
			return err
		}
	case Stay:
		if ended := e.until(p.Patience, func() bool { return e.ear.accepted }); !ended {
			return finding("nobody ends the connection of a client that was never let in")
		}
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it may be closed
	}
	select {
	case <-e.done:
		return nil
	case <-time.After(p.Patience):
		return finding("the client has closed its side, and the node does not close the other")
	}
}

// ping expects an answer to another PINGREQ than those of the script, or the end.
func (p *Player) ping(s *Script, c net.Conn, e *hearing) error {
	b := mqtt.AppendPingreq(nil)
	if s.Way.web() {
		b = appendFrame(nil, wsFin|wsBinary, b, true, 0x01020304)
	}
	if _, err := c.Write(b); err != nil {
		return nil // it is over
	}
	if !e.until(p.Patience, func() bool { return e.ear.pongs > s.Pings }) {
		return finding("a PINGREQ has no answer")
	}
	return nil
}

func (p *Player) count(e *hearing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.answers += e.ear.packets
	switch {
	case e.ear.accepted:
		p.mu.accepted++
	case e.ear.packets > 0 || e.ear.refused:
		p.mu.refused++
	}
}

// Counts are of clients that were let in, those that were told why not, and packets that
// came.
func (p *Player) Counts() (accepted, refused, answers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.accepted, p.mu.refused, p.mu.answers
}

// dial goes the script's way as far as packets or frames. There is no connection and no
// error if the node has refused it on the way, which it may.
func (p *Player) dial(s *Script) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", p.Targets[s.Node%len(p.Targets)].at(s.Way), p.Patience)
	if err != nil {
		return nil, finding("no connection: %w", err)
	}
	if _, err := c.Write(s.Header); err != nil || s.Way != ByTLS && s.Way != ByWSS {
		return c, nil // what is written later fails as well
	}
	secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	c.SetDeadline(time.Now().Add(p.Patience))
	if err := secure.Handshake(); err != nil {
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, finding("a TLS handshake does not go on and does not end")
		}
		return nil, nil
	}
	c.SetDeadline(time.Time{})
	return secure, nil
}

// raw is the TCP connection within c.
func raw(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

// hearing is an ear with a goroutine of its own.
type hearing struct {
	judged bool
	news   chan struct{} // something has come
	done   chan struct{} // the node has ended the connection, or the client has

	mu  sync.Mutex
	ear ear   // until done guarded by mu
	err error // likewise
}

func (e *hearing) listen(c net.Conn) {
	defer close(e.done)
	b := make([]byte, 16<<10)
	for {
		n, err := c.Read(b)
		e.mu.Lock()
		if e.judged && e.err == nil && n > 0 {
			e.err = e.ear.hear(b[:n])
		}
		e.mu.Unlock()
		select {
		case e.news <- struct{}{}:
		default:
		}
		if err != nil { // in order or not
			_, _ = io.Copy(io.Discard, c)
			return
		}
	}
}

// await waits until something comes.
func (e *hearing) await(most time.Duration) {
	select {
	case <-e.news:
	case <-e.done:
	case <-time.After(most):
	}
}

// until waits until f, which is called with the lock held, or the end; false: neither.
func (e *hearing) until(most time.Duration, f func() bool) bool {
	for limit := time.After(most); ; {
		e.mu.Lock()
		so := f()
		e.mu.Unlock()
		if so {
			return true
		}
		select {
		case <-e.news:
		case <-e.done:
			return true
		case <-limit:
			return false
		}
	}
}
