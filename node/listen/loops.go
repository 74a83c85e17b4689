package listen

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Loops is a set of event loops with their listeners.
type Loops struct {
	backend backend
	loops   []*loop
	drivers []driver
	started sync.Once
	ended   sync.Once
}

// New makes the loops and a Handler for each; handle is called for one loop after
// the other. Nothing runs before Start.
func New(o Options, handle func(Loop) Handler) (*Loops, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Loops{backend: backendFor(o)}
	for i := range o.Loops {
		d, err := s.backend.driver()
		if err != nil {
			for _, d := range s.drivers {
				d.close()
			}
			return nil, fmt.Errorf("listen: loop %d: %w", i, err)
		}
		s.drivers = append(s.drivers, d)
		s.loops = append(s.loops, newLoop(i, o, d))
	}
	for _, l := range s.loops {
		l.handler = handle(l)
	}
	return s, nil
}

// Listen binds a TCP address for all loops and accepts connections on it as soon
// as the loops run. It may be called any number of times, before and after Start. A
// port of 0 chooses one; the address returned names it. The connections have a Layer
// of each of the protocols, of which the first is next to the socket.
func (s *Loops) Listen(name, addr string, protocols ...Protocol) (net.Addr, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: listener %q: %w", name, err)
	}
	acceptors, bound, err := s.backend.bind(tcp, s.drivers)
	if err != nil {
		return nil, fmt.Errorf("listen: listener %q on %s: %w", name, addr, err)
	}
	for i, l := range s.loops {
		ln := &listener{name: name, loopback: bound.IP.IsLoopback(), acceptor: acceptors[i], protocols: protocols}
		l.Post(control(func(l *loop) {
			if err := l.addListener(ln); err != nil {
				l.log.Error("listener not watched", "listener", name, "loop", l.index, "error", err)
			}
		}))
	}
	return bound, nil
}

// Start lets the loops run, until Shutdown. Meanwhile GOMAXPROCS is higher by one for
// each loop on epoll.
func (s *Loops) Start() {
	s.started.Do(func() {
		s.backend.processors(len(s.loops))
		for _, l := range s.loops {
			go l.run()
		}
	})
}

// Len is the number of loops.
func (s *Loops) Len() int { return len(s.loops) }

// Loop is the i-th loop, to Post to.
func (s *Loops) Loop(i int) Loop { return s.loops[i] }

// StopAccepting closes the listeners. The connections remain.
func (s *Loops) StopAccepting(ctx context.Context) error {
	s.Start()
	stopped := make(chan struct{}, len(s.loops))
	for _, l := range s.loops {
		l.Post(control(func(l *loop) {
			l.closeListeners()
			stopped <- struct{}{}
		}))
	}
	for _, l := range s.loops {
		select {
		case <-stopped:
		case <-l.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Shutdown closes the listeners, then all connections, flushing what their peers
// take within a second, and returns when the loops have ended. Each Handler hears
// Closed for each of its connections. When ctx ends the connections are closed at
// once.
func (s *Loops) Shutdown(ctx context.Context) error {
	err := s.StopAccepting(ctx)
	s.closeAll(false)
	for _, l := range s.loops {
		select {
		case <-l.done:
		case <-ctx.Done():
			err = ctx.Err()
			s.closeAll(true)
			<-l.done
		}
	}
	s.ended.Do(func() { s.backend.processors(-len(s.loops)) })
	return err
}

func (s *Loops) closeAll(atOnce bool) {
	for _, l := range s.loops {
		l.Post(control(func(l *loop) {
			l.closeListeners()
			l.stopping = true
			l.closeAll(atOnce)
		}))
	}
}

// Stats sums up the loops' counters.
func (s *Loops) Stats() Stats {
	var sum Stats
	for _, l := range s.loops {
		l.count.addTo(&sum)
	}
	return sum
}
