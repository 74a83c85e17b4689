package raftnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// What a call ends with beside what the other side says.
var (
	// ErrUnreachable: there is no stream to the peer, or it is none; nothing was sent.
	ErrUnreachable = errors.New("raftnet: peer cannot be reached")
	// ErrBroken: the stream broke, or the time was up, before the reply. Whether the
	// call was carried out, nobody knows.
	ErrBroken = errors.New("raftnet: no reply: outcome unknown")
	// ErrClosed: the group, or this node's end, was closed.
	ErrClosed = errors.New("raftnet: closed")
	// ErrTooLarge: a call above MaxPayloadBytes. Nothing was sent.
	ErrTooLarge = errors.New("raftnet: call too large")
)

// Failure is what the other side failed a call with: the call was heard.
type Failure string

func (f Failure) Error() string { return string(f) }

// Options bound a node's end. Start from DefaultOptions. All nodes of a cluster
// should have the same intervals.
type Options struct {
	// BeatInterval is how often a node lets those hear of it that vote in a group
	// that it leads, and IdleInterval how often all others.
	BeatInterval, IdleInterval time.Duration
	// CallTimeout is how long Raft waits for a reply, and for room before.
	CallTimeout time.Duration
	// StallTimeout is how long a snapshot may make no progress on its way, and
	// RestoreTimeout how long its receiver may take for it once it has all.
	StallTimeout, RestoreTimeout time.Duration

	// MaxPayloadBytes bounds a call or a reply. A single log entry must fit.
	MaxPayloadBytes int
	// MaxQueuedBytes may wait for a stream before calls wait; once as much again is
	// being written.
	MaxQueuedBytes int
	// MaxAskBytes is how much may be asked of a peer and not answered.
	MaxAskBytes int

	Logger *slog.Logger
}

// DefaultOptions suit Raft's election timeouts of 1.5 to 2 s.
func DefaultOptions() Options {
	return Options{
		BeatInterval:    50 * time.Millisecond,
		IdleInterval:    time.Second,
		CallTimeout:     5 * time.Second,
		StallTimeout:    10 * time.Second,
		RestoreTimeout:  10 * time.Minute,
		MaxPayloadBytes: 64 << 20,
		MaxQueuedBytes:  4 << 20,
		MaxAskBytes:     16 << 20,
		Logger:          slog.Default(),
	}
}

// Valid reports the first thing that is wrong, in one line.
func (o Options) Valid() error {
	for _, v := range []struct {
		name string
		n    int64
	}{
		{"BeatInterval", int64(o.BeatInterval)}, {"IdleInterval", int64(o.IdleInterval)}, {"CallTimeout", int64(o.CallTimeout)},
		{"StallTimeout", int64(o.StallTimeout)}, {"RestoreTimeout", int64(o.RestoreTimeout)},
		{"MaxPayloadBytes", int64(o.MaxPayloadBytes)}, {"MaxQueuedBytes", int64(o.MaxQueuedBytes)},
		{"MaxAskBytes", int64(o.MaxAskBytes)},
	} {
		if v.n <= 0 {
			return fmt.Errorf("raftnet: %s %d: must be positive", v.name, v.n)
		}
	}
	if o.Logger == nil {
		return errors.New("raftnet: options not made by DefaultOptions")
	}
	return nil
}

// Net is a node's end: its groups, and the peers that it knows by identity.
type Net struct {
	self     string
	opts     Options
	log      *slog.Logger
	detector detector
	used     atomic.Bool // there is, or was, a group or a handler: beats are worth sending

	stop context.CancelFunc
	ctx  context.Context // ends with the Net
	wg   sync.WaitGroup

	// Lock order: served.mu, Net.mu, then any other.
	mu struct {
		sync.RWMutex
		closed   bool
		groups   map[uint16]*Transport
		peers    map[string]*peer
		handlers [256]Handler
		anyones  [256]bool // kinds of asks that are answered who is restricted too
		pushed   [256]PushHandler
		served   func(node string)
	}
}

// peer is what is known of another node. It outlasts the node's membership.
type peer struct {
	identity string
	served   served
	caller   atomic.Pointer[Caller] // nil while it is no member

	restricted atomic.Bool

	heard   atomic.Int64 // when something came from it, in Net time; 0 for never
	severed atomic.Int64 // when it was found that its process may be gone, 0 for not
}

// New makes the end of the node with that identity.
func New(self string, o Options) (*Net, error) {
	if err := o.Valid(); err != nil {
		return nil, err
	}
	n := &Net{self: self, opts: o, log: o.Logger}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.mu.groups = make(map[uint16]*Transport)
	n.mu.peers = make(map[string]*peer)
	n.detector.init(n)
	return n, nil
}

// Self is this node's identity.
func (n *Net) Self() string { return n.self }

// Close ends all groups and waits for what the Net has started. The streams'
// own goroutines are whose who gave them.
func (n *Net) Close() {
	n.mu.Lock()
	n.mu.closed = true
	var ts []*Transport
	for _, t := range n.mu.groups {
		ts = append(ts, t)
	}
	n.mu.Unlock()
	n.stop()
	for _, t := range ts {
		_ = t.Close()
	}
	n.wg.Wait()
}

// peer finds or makes what is known of a node.
func (n *Net) peer(identity string) *peer {
	n.mu.RLock()
	p := n.mu.peers[identity]
	n.mu.RUnlock()
	if p != nil {
		return p
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p = n.mu.peers[identity]; p == nil {
		p = &peer{identity: identity}
		n.mu.peers[identity] = p
	}
	return p
}

// caller is how to call a node, nil if it is no member.
func (n *Net) caller(identity string) *Caller {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if p := n.mu.peers[identity]; p != nil {
		return p.caller.Load()
	}
	return nil
}

func (n *Net) group(id uint16) *Transport {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mu.groups[id]
}

// hear notes that something has come from p.
func (n *Net) hear(p *peer) {
	p.heard.Store(n.detector.now())
	if p.severed.Load() != 0 {
		p.severed.Store(0)
	}
}

// Silence is how long of it says that a node cannot be reached, whatever its streams
// are: a host that hangs breaks none. A beat may be lost, and another late.
func (n *Net) Silence() time.Duration { return 5 * n.opts.IdleInterval / 2 }

// Silent is for how long nothing has come from a node; nodes let each other hear of
// them every IdleInterval at least while there is a stream.
func (n *Net) Silent(identity string) time.Duration {
	return time.Duration(n.detector.now() - n.peer(identity).heard.Load())
}

// Severed tells that a connection to a node was reset by the other side or
// refused: its process may be gone. It counts once nothing has been heard of the
// node for two intervals; a word from it takes it back.
func (n *Net) Severed(identity string) {
	p := n.peer(identity)
	if p.severed.CompareAndSwap(0, n.detector.now()) {
		signal(n.detector.wake)
	}
}
