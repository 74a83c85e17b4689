package raftnet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// maxAppend is how many bytes of entries go in one AppendEntries, or one entry.
// Raft counts only entries, 64 by default, of whatever size; and when more are
// waiting it sends them on the next occasion, so that this must rarely matter.
const maxAppend = 1 << 20

// Transport is one group's raft.Transport. ServerID and ServerAddress are both
// the node's identity; membership knows where that is.
type Transport struct {
	net   *Net
	id    uint16
	ctx   context.Context // ends with Close
	close context.CancelFunc
	done  sync.WaitGroup

	consumer chan raft.RPC
	inbox    inbox
	watched  atomic.Pointer[raft.Raft]
	held     atomic.Pointer[func(index, term uint64) bool]
}

var _ interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
} = (*Transport)(nil)

// Transport makes a group's. Until it is closed the group can have no other.
func (n *Net) Transport(group uint16) (*Transport, error) {
	n.used.Store(true)
	t := &Transport{net: n, id: group, consumer: make(chan raft.RPC, maxInbox)}
	t.inbox.init()
	t.ctx, t.close = context.WithCancel(n.ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.mu.closed:
		return nil, ErrClosed
	case n.mu.groups[group] != nil:
		return nil, fmt.Errorf("raftnet: group %d has a transport", group)
	}
	n.mu.groups[group] = t
	t.done.Go(t.serve)
	return t, nil
}

// Watch lets the failure detector care for r, this group's Raft, and has heartbeats
// answered that r need not be asked about.
func (t *Transport) Watch(r *raft.Raft) {
	t.watched.Store(r)
	t.net.detector.start()
}

// Retain has f say whether the replica holds an entry, in its log or applied. A
// snapshot that ends with one that it holds is acknowledged and not installed: Raft
// would install it, however old, and drop what its log holds beyond, which may have
// been acknowledged. Such a snapshot comes from a leader that removed this node from
// the group and added it again meanwhile, by what it had begun before. f is called
// while Raft waits for it.
func (t *Transport) Retain(f func(index, term uint64) bool) { t.held.Store(&f) }

// Close implements raft.WithClose: what is under way fails, what comes is refused.
func (t *Transport) Close() error {
	t.net.mu.Lock()
	if t.net.mu.groups[t.id] == t {
		delete(t.net.mu.groups, t.id)
	}
	t.net.mu.Unlock()
	t.close()
	t.done.Wait()
	return nil
}

func (t *Transport) Consumer() <-chan raft.RPC { return t.consumer }

func (t *Transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.net.self) }

func (t *Transport) EncodePeer(id raft.ServerID, _ raft.ServerAddress) []byte { return []byte(id) }

func (t *Transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport and keeps nothing: see Heartbeats in
// the package's comment.
func (*Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// rpc calls a node. With size 0 the request is urgent.
func (t *Transport) rpc(to raft.ServerID, k kind, size int, lazy bool, payload func([]byte) []byte) ([]byte, error) {
	c := t.net.caller(string(to))
	if c == nil {
		return nil, fmt.Errorf("%w: %s is no member", ErrUnreachable, to)
	}
	return c.rpc(t.ctx, k, t.id, size, lazy, payload)
}

// AppendEntries implements raft.Transport. It may send fewer entries than it was
// given, and shortens args to what it sent: Raft goes on from there.
func (t *Transport) AppendEntries(to raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	k, size := kindAppend, shorten(args)
	if heartbeat(args) {
		k, size = kindHeartbeat, 0
		t.leads(to)
	}
	b, err := t.rpc(to, k, size, k == kindHeartbeat, func(dst []byte) []byte { return appendAppend(dst, args) })
	if err != nil {
		if k == kindAppend {
			t.hold(to, err)
		}
		return err
	}
	return readAppendReply(b, string(to), resp)
}

// shorten cuts args down to maxAppend and returns about how many bytes it takes.
func shorten(args *raft.AppendEntriesRequest) (size int) {
	size = sizeAppend(&raft.AppendEntriesRequest{})
	for i, e := range args.Entries {
		s := sizeEntry(e)
		if i > 0 && size+s > maxAppend {
			args.Entries = args.Entries[:i]
			break
		}
		size += s
	}
	return size
}

func (t *Transport) RequestVote(to raft.ServerID, _ raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	b, err := t.rpc(to, kindVote, 0, false, func(dst []byte) []byte { return appendVote(dst, args) })
	if err == nil {
		resp.RPCHeader, resp.Term, resp.Granted, err = readGranted(b, string(to))
	}
	return err
}

// RequestPreVote implements raft.WithPreVote.
func (t *Transport) RequestPreVote(to raft.ServerID, _ raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	b, err := t.rpc(to, kindPreVote, 0, false, func(dst []byte) []byte { return appendPreVote(dst, args) })
	if err == nil {
		resp.RPCHeader, resp.Term, resp.Granted, err = readGranted(b, string(to))
	}
	return err
}

func (t *Transport) TimeoutNow(to raft.ServerID, _ raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	b, err := t.rpc(to, kindTimeoutNow, 0, false, func(dst []byte) []byte { return appendVersion(dst, args.RPCHeader) })
	if err == nil {
		resp.RPCHeader, err = readVersion(b, string(to))
	}
	return err
}

// errUnexpectedReply is Raft answering with something else than was asked.
var errUnexpectedReply = errors.New("raftnet: raft gave another kind of reply")
