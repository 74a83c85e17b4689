package shardnet

import (
	"sync"
	"time"

	"dunlin/raftstore"
)

// again has the store push again what may be lost. A node that has too much to
// take is waited for. One that cannot be named, since this node is behind in what
// meta says, is looked for until it can, or is given up: then meta knows of no such
// node.
type again struct {
	net     *Net
	stop    chan struct{}
	running sync.WaitGroup

	mu struct {
		sync.Mutex
		numbers map[raftstore.Node]time.Time // that have no name, and since when
		names   map[string]time.Time         // that have no number
		late    map[raftstore.Node]struct{}  // that have no room
		looking bool
		closed  bool
	}
}

const (
	lookEvery = 100 * time.Millisecond
	lookFor   = time.Minute
)

func (a *again) init(n *Net) {
	a.net, a.stop = n, make(chan struct{})
	a.mu.numbers, a.mu.names = make(map[raftstore.Node]time.Time), make(map[string]time.Time)
	a.mu.late = make(map[raftstore.Node]struct{})
}

// served is called when a node opened a stream: see raftnet.Net.Served.
func (a *again) served(identity string) {
	s := a.net.attached()
	if s == nil {
		return // nothing was pushed
	}
	if to, ok := a.net.dir.Number(identity); ok {
		s.PushAgain(to)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.names[identity] = time.Now()
	a.lookLocked()
}

// unnamed notes that something was not pushed to a node without a name.
func (a *again) unnamed(at raftstore.Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.mu.numbers[at]; !ok {
		a.mu.numbers[at] = time.Now()
		a.lookLocked()
	}
}

// behind notes that something was not pushed to a node that has too much to take.
func (a *again) behind(at raftstore.Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.mu.late[at]; !ok {
		a.mu.late[at] = struct{}{}
		a.lookLocked()
	}
}

// lookLocked has somebody look.
func (a *again) lookLocked() {
	if !a.mu.looking && !a.mu.closed {
		a.mu.looking = true
		a.running.Go(a.look)
	}
}

func (a *again) look() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-a.stop:
			return
		}
		found, more := a.found()
		for _, to := range found {
			if s := a.net.attached(); s != nil {
				s.PushAgain(to)
			}
		}
		if !more {
			return
		}
	}
}

// found takes out the nodes that are known, or have room, by now, and says whether others are
// left.
func (a *again) found() (nodes []raftstore.Node, more bool) {
	dir := a.net.dir
	a.mu.Lock()
	defer a.mu.Unlock()
	for at := range a.mu.late {
		if a.net.Room(at) {
			nodes = append(nodes, at)
			delete(a.mu.late, at)
		}
	}
	for at, since := range a.mu.numbers {
		_, ok := dir.Identity(at)
		if ok {
			nodes = append(nodes, at)
		}
		if ok || time.Since(since) > lookFor {
			delete(a.mu.numbers, at)
		}
	}
	for identity, since := range a.mu.names {
		at, ok := dir.Number(identity)
		if ok {
			nodes = append(nodes, at)
		}
		if ok || time.Since(since) > lookFor {
			delete(a.mu.names, identity)
		}
	}
	a.mu.looking = len(a.mu.late)+len(a.mu.numbers)+len(a.mu.names) > 0
	return nodes, a.mu.looking
}

func (a *again) close() {
	a.mu.Lock()
	if !a.mu.closed {
		a.mu.closed = true
		close(a.stop)
	}
	a.mu.Unlock()
	a.running.Wait()
}
