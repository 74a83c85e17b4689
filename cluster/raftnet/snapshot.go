package raftnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// A snapshot's stream carries, on the bulk row, one record of kindSnapshot with
// Raft's request, then the bytes of the snapshot as they are; and back a reply.

// maxInstall bounds the request: the configuration is most of it.
const maxInstall = 1 << 20

var errStalled = errors.New("raftnet: snapshot made no progress")

// InstallSnapshot implements raft.Transport.
func (t *Transport) InstallSnapshot(to raft.ServerID, _ raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := t.installSnapshot(to, args, resp, data)
	if err != nil {
		t.hold(to, err)
	}
	return err
}

func (t *Transport) installSnapshot(to raft.ServerID, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	c := t.net.caller(string(to))
	if c == nil {
		return fmt.Errorf("%w: %s is no member", ErrUnreachable, to)
	}
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	stall := time.AfterFunc(t.net.opts.StallTimeout, func() { cancel(errStalled) })
	defer stall.Stop()
	defer context.AfterFunc(c.ctx, func() { cancel(ErrUnreachable) })()
	s, end, err := c.open(ctx)
	if err != nil {
		return cause(ctx, err)
	}
	defer end()

	payload := appendInstall(nil, args)
	if len(payload) > maxInstall {
		return fmt.Errorf("%w: configuration", ErrTooLarge)
	}
	head := append(openRecord(nil, kindSnapshot, 0, t.id, 1), payload...)
	if err := sendAll(s, closeRecord(head, 0)); err != nil {
		return cause(ctx, err)
	}
	buf := make([]byte, MaxPiece)
	for left := args.Size; left > 0; {
		n, err := io.ReadFull(data, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return fmt.Errorf("raftnet: read snapshot: %w", err)
		}
		if err := s.Send(nil, buf[:n]); err != nil {
			return cause(ctx, err)
		}
		left -= int64(n)
		stall.Reset(t.net.opts.StallTimeout)
	}
	stall.Reset(t.net.opts.RestoreTimeout)

	in := assembler{bound: maxInstall}
	var reply []byte
	var failed error
	for reply == nil && failed == nil {
		err := s.Recv(func(_ Class, piece []byte) error {
			return in.add(piece, func(r record) error {
				switch r.kind {
				case kindReply:
					reply = append([]byte{}, r.payload...)
				case kindFailure:
					failed = Failure(r.payload)
				default:
					return malformed("no reply")
				}
				return nil
			})
		})
		if err != nil {
			return cause(ctx, err)
		}
	}
	if failed != nil {
		return failed
	}
	resp.RPCHeader, resp.Term, resp.Success, err = readGranted(reply, string(to))
	return err
}

func sendAll(s Stream, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), MaxPiece)
		if err := s.Send(nil, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// cause prefers to err why the stream was ended.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return fmt.Errorf("%w: %w", c, err)
	}
	return err
}

// ServeSnapshot takes a snapshot from a peer. It returns when s may be ended;
// spawn is as in Serve.
func (n *Net) ServeSnapshot(ctx context.Context, from string, s Stream, spawn func(func())) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := &incoming{ctx: ctx, stall: n.opts.StallTimeout, pieces: make(chan []byte)}
	spawn(func() { cancel(in.feed(s)) })
	r, err := in.head()
	if err != nil {
		return err
	}
	req, err := readInstall(r.payload, from)
	if err != nil {
		return err
	}
	fail := func(why string) error {
		return sendAll(s, closeRecord(append(openRecord(nil, kindFailure, 0, r.group, r.id), why...), 0))
	}
	t := n.group(r.group)
	if t == nil {
		return fail(noGroup(r.group).Error())
	}
	resp := make(chan raft.RPCResponse, 1)
	body := &retaining{t: t, req: req, Reader: io.LimitReader(in, req.Size)}
	got, ok := t.consume(raft.RPC{Command: req, Reader: body, RespChan: resp}, resp)
	if !ok {
		return fail("group is shut down")
	}
	a, ok := got.Response.(*raft.InstallSnapshotResponse)
	switch {
	case ok && errors.Is(got.Error, errHeld):
		if _, err := io.Copy(io.Discard, body.Reader); err != nil {
			return err
		}
		a.Success = true
	case got.Error != nil:
		return fail(got.Error.Error())
	case !ok:
		return errUnexpectedReply
	}
	head := openRecord(nil, kindReply, 0, r.group, r.id)
	return sendAll(s, closeRecord(appendGranted(head, a.ProtocolVersion, a.Term, a.Success), 0))
}

// retaining is a snapshot as Raft reads it: not, if the replica holds what it ends
// with, see Transport.Retain. Raft reads it while it does nothing else, so that no
// entry comes between looking and installing.
type retaining struct {
	io.Reader
	t      *Transport
	req    *raft.InstallSnapshotRequest
	looked bool
	held   bool
}

var errHeld = errors.New("raftnet: the snapshot is older than the replica")

func (r *retaining) Read(p []byte) (int, error) {
	if !r.looked {
		r.looked = true
		if f := r.t.held.Load(); f != nil {
			r.held = (*f)(r.req.LastLogIndex, r.req.LastLogTerm)
		}
	}
	if r.held {
		return 0, errHeld
	}
	return r.Reader.Read(p)
}

// incoming is the bytes of a snapshot as they arrive. Raft's own goroutine reads
// them, so that a sender that stalls must not hold it for long.
type incoming struct {
	ctx    context.Context // ends with the stream
	stall  time.Duration
	pieces chan []byte
	piece  []byte // being read
}

// feed receives until the stream ends. It copies, since a reader may still be at
// a piece when the stream breaks.
func (in *incoming) feed(s Stream) error {
	for {
		err := s.Recv(func(c Class, piece []byte) error {
			if c != Bulk {
				return malformed("urgent bytes of a snapshot")
			}
			select {
			case in.pieces <- append([]byte(nil), piece...):
				return nil
			case <-in.ctx.Done():
				return in.ctx.Err()
			}
		})
		if err != nil {
			return err
		}
	}
}

func (in *incoming) Read(p []byte) (int, error) {
	if len(in.piece) == 0 {
		stall := time.NewTimer(in.stall)
		defer stall.Stop()
		select {
		case in.piece = <-in.pieces:
		case <-stall.C:
			return 0, errStalled
		case <-in.ctx.Done():
			return 0, context.Cause(in.ctx)
		}
	}
	n := copy(p, in.piece)
	in.piece = in.piece[n:]
	return n, nil
}

// head reads the record at the beginning. Its payload is the caller's.
func (in *incoming) head() (record, error) {
	var b []byte
	for want := recordHeader; ; {
		for len(b) < want {
			chunk := make([]byte, want-len(b))
			n, err := in.Read(chunk)
			if err != nil {
				return record{}, err
			}
			b = append(b, chunk[:n]...)
		}
		r, _, missing, err := readRecord(b, maxInstall)
		switch {
		case err != nil:
			return record{}, err
		case missing > 0:
			want = missing
			continue
		case r.kind != kindSnapshot:
			return record{}, malformed("no snapshot")
		}
		return r, nil
	}
}
