package raftnet

import (
	"bytes"
	"sync"

	"github.com/hashicorp/raft"
)

// maxInbox is how many requests may wait for a group. One leader has no more
// than maxInFlight on their way, and beyond it are only votes.
const maxInbox = 64

// inbox is what Raft has been given and has not answered. Raft takes requests one
// after the other and answers each once, on one channel for all, so that who
// answers the peers need not be woken but for that.
type inbox struct {
	responses chan raft.RPCResponse
	told      chan raft.RPCResponse // to the heartbeat that Raft is told of, see tell

	mu struct {
		sync.Mutex
		waiting []*inbound // in the order in which Raft was given them
		telling bool       // told is owed a response, or has it
	}
}

func (x *inbox) init() {
	x.responses = make(chan raft.RPCResponse, maxInbox) // Raft does not wait to answer
	x.told = make(chan raft.RPCResponse, 1)
}

// inbound is a request that waits for Raft's response.
type inbound struct {
	command any
	out     *replies
	id      uint32
}

// request takes one request of a peer. Reading goes on at once: what Raft has to
// work on waits in the inbox, for Raft may wait for its disk.
func (t *Transport) request(from string, out *replies, r record) error {
	in := &inbound{out: out, id: r.id}
	var beat *raft.AppendEntriesRequest
	var err error
	switch r.kind {
	case kindHeartbeat:
		if beat, err = readAppend(r.payload, from); err == nil && !heartbeat(beat) {
			err = malformed("heartbeat with entries")
		}
		in.command = beat
	case kindAppend:
		var a *raft.AppendEntriesRequest
		if a, err = readAppend(r.payload, from); err == nil {
			own(a)
		}
		in.command = a
	case kindVote:
		in.command, err = readVote(r.payload, from)
	case kindPreVote:
		in.command, err = readPreVote(r.payload, from)
	case kindTimeoutNow:
		var c raft.TimeoutNowRequest
		c.RPCHeader, err = readVersion(r.payload, from)
		in.command = &c
	}
	if err != nil {
		return err
	}
	if beat == nil || !t.answer(in, beat) {
		t.give(in)
	}
	return nil
}

// own gives entries that borrow bytes of their own, since the log keeps them. Short ones
// lie together, but no more than is well let go with the last of them: the log bounds
// what it keeps by what each entry takes (P10).
func own(a *raft.AppendEntriesRequest) {
	left := 0 // bytes of short ones to come
	for _, e := range a.Entries {
		for _, b := range [...][]byte{e.Data, e.Extensions} {
			if len(b) <= maxShort {
				left += len(b)
			}
		}
	}
	var room []byte
	keep := func(b []byte) []byte {
		switch {
		case len(b) == 0:
			return nil
		case len(b) > maxShort:
			return bytes.Clone(b)
		case len(b) > cap(room)-len(room):
			room = make([]byte, 0, min(left, maxTogether))
		}
		from := len(room)
		room = append(room, b...)
		left -= len(b)
		return room[from:len(room):len(room)]
	}
	for _, e := range a.Entries {
		e.Data, e.Extensions = keep(e.Data), keep(e.Extensions)
	}
}

const (
	maxShort    = 2 << 10  // bytes that lie with others
	maxTogether = 16 << 10 // bytes of those that lie together
)

const (
	errBehind = "group is too far behind"
	errShut   = "group is shut down"
)

// give has Raft work on a request when it comes to it.
func (t *Transport) give(in *inbound) {
	x := &t.inbox
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.mu.waiting) < maxInbox {
		select {
		case t.consumer <- raft.RPC{Command: in.command, RespChan: x.responses}:
			x.mu.waiting = append(x.mu.waiting, in)
			return
		default:
		}
	}
	in.out.fail(t.id, in.id, errBehind)
}

// next is the request that Raft answers next.
func (x *inbox) next() *inbound {
	x.mu.Lock()
	defer x.mu.Unlock()
	in := x.mu.waiting[0]
	copy(x.mu.waiting, x.mu.waiting[1:])
	x.mu.waiting[len(x.mu.waiting)-1] = nil
	x.mu.waiting = x.mu.waiting[:len(x.mu.waiting)-1]
	return in
}

// answer answers a heartbeat as Raft would that follows in its term already, and
// reports false if Raft does not: then Raft itself has to. The answer tells the
// sender that this node knew of no later term when the heartbeat was here.
func (t *Transport) answer(in *inbound, beat *raft.AppendEntriesRequest) bool {
	r := t.watched.Load()
	if r == nil || r.State() != raft.Follower || r.CurrentTerm() != beat.Term {
		return false
	}
	t.tell(beat)
	t.reply(in, raft.RPCResponse{Response: &raft.AppendEntriesResponse{
		RPCHeader: raft.RPCHeader{ProtocolVersion: beat.ProtocolVersion},
		Term:      beat.Term, LastLog: r.LastIndex(), Success: true,
	}})
	return true
}

// tell lets Raft have a heartbeat that was answered, so that it knows its leader and
// that it is there. One at a time is enough: Raft hears of it after all that it
// waits for now.
func (t *Transport) tell(beat *raft.AppendEntriesRequest) {
	x := &t.inbox
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.telling {
		select {
		case <-x.told:
		default:
			return
		}
	}
	select {
	case t.consumer <- raft.RPC{Command: beat, RespChan: x.told}:
		x.mu.telling = true
	default:
		x.mu.telling = false
	}
}

// serve answers peers with what Raft says to their requests.
func (t *Transport) serve() {
	x := &t.inbox
	for {
		select {
		case resp := <-x.responses:
			t.reply(x.next(), resp)
		case <-t.ctx.Done():
			x.mu.Lock()
			defer x.mu.Unlock()
			for _, in := range x.mu.waiting {
				in.out.fail(t.id, in.id, errShut)
			}
			x.mu.waiting = nil
			return
		}
	}
}

// consume gives Raft a request and waits for its response.
func (t *Transport) consume(rpc raft.RPC, resp <-chan raft.RPCResponse) (raft.RPCResponse, bool) {
	select {
	case t.consumer <- rpc:
	case <-t.ctx.Done():
		return raft.RPCResponse{}, false
	}
	select {
	case r := <-resp:
		return r, true
	case <-t.ctx.Done():
		return raft.RPCResponse{}, false
	}
}

func (t *Transport) reply(in *inbound, resp raft.RPCResponse) {
	if resp.Error != nil {
		in.out.fail(t.id, in.id, resp.Error.Error())
		return
	}
	var payload func([]byte) []byte
	switch a := resp.Response.(type) {
	case *raft.AppendEntriesResponse:
		payload = func(dst []byte) []byte { return appendAppendReply(dst, a) }
	case *raft.RequestVoteResponse:
		payload = func(dst []byte) []byte { return appendGranted(dst, a.ProtocolVersion, a.Term, a.Granted) }
	case *raft.RequestPreVoteResponse:
		payload = func(dst []byte) []byte { return appendGranted(dst, a.ProtocolVersion, a.Term, a.Granted) }
	case *raft.TimeoutNowResponse:
		payload = func(dst []byte) []byte { return appendVersion(dst, a.RPCHeader) }
	default:
		in.out.fail(t.id, in.id, errUnexpectedReply.Error())
		return
	}
	in.out.reply(kindReply, t.id, in.id, payload)
}
