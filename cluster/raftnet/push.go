package raftnet

import "fmt"

// PushHandler takes what another node pushed to this one. It is called with the
// pushes of a node one after the other, in their order among the answers of that
// node to this one's asks, by the goroutine that reads the stream: it must not
// block. body is borrowed until it returns. An error is what the peer did wrong
// and ends the stream.
type PushHandler func(from string, group uint16, body []byte) error

// HandlePush makes h what pushes of that kind come to; as with Handle, a kind has
// one. It is to be called before there are streams: a push that nobody takes is
// malformed.
func (n *Net) HandlePush(kind uint8, h PushHandler) {
	n.used.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.pushed[kind] != nil {
		panic(fmt.Sprintf("raftnet: pushes of kind %d have two handlers", kind))
	}
	n.mu.pushed[kind] = h
}

// Served has f called whenever a node has opened a stream to this one, in the
// place of an earlier one or not: what was pushed to it before may be lost. f is
// called once pushes go to the new stream, and may not block.
func (n *Net) Served(f func(node string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.served = f
}

func (n *Net) opened(node string) {
	n.mu.RLock()
	f := n.mu.served
	n.mu.RUnlock()
	if f != nil {
		f(node)
	}
}

// Push brings a node what it did not ask for, by the way back of the stream that
// it has open to this one: behind the answers given before and before those given
// later. body appends about size bytes to what it is given; it is called at once
// or not at all. Push never waits. It says false if nothing was sent, since there
// is no such stream or size is above MaxPayloadBytes; with true it may be lost all
// the same, with the stream. A node that leaves too much unread loses the stream.
//
// To push to this node itself is to call its handler.
func (n *Net) Push(node string, kind uint8, group uint16, size int, body func([]byte) []byte) bool {
	if size > n.opts.MaxPayloadBytes {
		return false
	}
	if node == n.self {
		h := n.pushHandler(kind)
		return h != nil && h(node, group, body(nil)) == nil
	}
	out := n.wayTo(node)
	if out == nil || out.lock() != nil {
		return false
	}
	out.appendBulk(kindPush, kind, group, 0, body)
	return true
}

// PushBacklog is how many bytes of pushes and answers wait to be written to a
// node.
func (n *Net) PushBacklog(node string) int {
	out := n.wayTo(node)
	if out == nil || out.lock() != nil {
		return 0
	}
	defer out.mu.Unlock()
	return len(out.mu.bulk) + int(out.writing.Load())
}

// wayTo is the way back of a node's latest stream to this one, nil for none.
func (n *Net) wayTo(node string) *replies {
	n.mu.RLock()
	p := n.mu.peers[node]
	n.mu.RUnlock()
	if p == nil || p.restricted.Load() {
		return nil
	}
	return p.served.current.Load()
}

func (n *Net) pushHandler(kind uint8) PushHandler {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mu.pushed[kind]
}

// pushed takes one push of a node.
func (n *Net) pushed(from string, r record) error {
	h := n.pushHandler(r.ask)
	if h == nil || r.id != 0 {
		return malformed("push")
	}
	return h(from, r.group, r.payload)
}
