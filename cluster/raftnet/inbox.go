package raftnet

import (
	"github.com/hashicorp/raft"
)

// maxInbox is how many requests may wait for a group. One leader has no more
// than maxInFlight on their way, and beyond it are only votes.
const maxInbox = 64

// inbound is a request on its way to a group's Raft.
type inbound struct {
	rpc  raft.RPC
	resp chan raft.RPCResponse
	fast bool // a heartbeat
	out  *replies
	id   uint32
}

// request takes one request of a peer. Reading goes on at once: what Raft has to
// work on waits in the inbox, for Raft may wait for its disk.
func (t *Transport) request(from string, out *replies, r record) error {
	in := &inbound{resp: make(chan raft.RPCResponse, 1), out: out, id: r.id}
	in.rpc.RespChan = in.resp
	var err error
	switch r.kind {
	case kindHeartbeat:
		var a *raft.AppendEntriesRequest
		if a, err = readAppend(r.payload, from); err == nil && !heartbeat(a) {
			err = malformed("heartbeat with entries")
		}
		in.rpc.Command, in.fast = a, true
	case kindAppend:
		// The log keeps the entries, so their bytes must be their own.
		in.rpc.Command, err = readAppend(append([]byte(nil), r.payload...), from)
	case kindVote:
		in.rpc.Command, err = readVote(r.payload, from)
	case kindPreVote:
		in.rpc.Command, err = readPreVote(r.payload, from)
	case kindTimeoutNow:
		var c raft.TimeoutNowRequest
		c.RPCHeader, err = readVersion(r.payload, from)
		in.rpc.Command = &c
	}
	if err != nil {
		return err
	}
	if in.fast && in.rpc.Command.(*raft.AppendEntriesRequest).Term == t.beatTerm.Load() && t.answerHeartbeat(in) {
		return nil
	}
	select {
	case t.inbox <- in:
	default:
		out.fail(t.id, in.id, "group is too far behind")
	}
	return nil
}

// answerHeartbeat passes a heartbeat to Raft beside the consumer, if Raft has
// said how.
func (t *Transport) answerHeartbeat(in *inbound) bool {
	t.mu.Lock()
	handle := t.mu.heartbeat
	t.mu.Unlock()
	if handle == nil {
		return false
	}
	handle(in.rpc)
	select {
	case resp := <-in.resp:
		if a, ok := resp.Response.(*raft.AppendEntriesResponse); ok && resp.Error == nil && a.Success {
			t.beatTerm.Store(a.Term)
		}
		t.reply(in, resp)
	default: // Raft is shutting down and says nothing
		in.out.fail(t.id, in.id, "group is shut down")
	}
	return true
}

// serve passes requests to Raft, one after the other.
func (t *Transport) serve() {
	for {
		select {
		case in := <-t.inbox:
			if in.fast && t.answerHeartbeat(in) {
				continue
			}
			resp, ok := t.consume(in.rpc, in.resp)
			if !ok {
				in.out.fail(t.id, in.id, "group is shut down")
				return
			}
			t.reply(in, resp)
		case <-t.ctx.Done():
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
