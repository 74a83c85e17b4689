package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"dunlin/cluster/bulk"
	"dunlin/cluster/raftnet"
	"dunlin/node/admin"
	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// What nodes call of one another in bulk. Each is about one shard, its argument,
// and for the shard's leader.
const (
	callBackup  uint8 = 1 + iota // its output is a backup of the shard
	callRestore                  // its input is one
	callUsed                     // its output is whether the shard holds anything, in JSON
	callBegin                    // the shard, restored, goes on
)

// serveBackups does for other nodes what this one leads.
func (n *Node) serveBackups() {
	n.calls.Handle(callBackup, n.led(func(s *raftstore.Store, sh router.ShardID, _ io.Reader, out io.Writer) error {
		return s.Backup(sh, out)
	}))
	n.calls.Handle(callRestore, n.led(func(s *raftstore.Store, sh router.ShardID, in io.Reader, _ io.Writer) error {
		return s.Restore(sh, in)
	}))
	n.calls.Handle(callBegin, n.about(func(s *raftstore.Store, sh router.ShardID, _ io.Reader, _ io.Writer) error {
		return s.Begin(sh) // it does not lead while it waits for this
	}))
	n.calls.Handle(callUsed, n.led(func(s *raftstore.Store, sh router.ShardID, _ io.Reader, out io.Writer) error {
		used, err := s.Used(sh)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(used)
	}))
}

// work is what a node does about a shard for another.
type work func(s *raftstore.Store, sh router.ShardID, in io.Reader, out io.Writer) error

// led makes a handler of what the leader of a shard does.
func (n *Node) led(do work) bulk.Handler {
	return n.about(func(s *raftstore.Store, sh router.ShardID, in io.Reader, out io.Writer) error {
		if !s.Leads(sh) {
			return raftstore.ErrNotLeader
		}
		return do(s, sh, in, out)
	})
}

// about makes a handler of what is done about a shard.
func (n *Node) about(do work) bulk.Handler {
	return func(_ context.Context, arg []byte, in io.Reader, out io.Writer) error {
		store := n.store.Load()
		if store == nil {
			return raftstore.ErrNotLeader
		}
		if len(arg) != 1 || int(arg[0]) >= store.Shards() {
			return errNoShard
		}
		return do(store, router.ShardID(arg[0]), in, out)
	}
}

var errNoShard = errors.New("no such shard")

// known are the errors that keep what they are between nodes: new ones at the end.
var known = []error{
	raftstore.ErrNotLeader, raftstore.ErrNotEmpty, raftstore.ErrBackup, raftstore.ErrSnapshot,
	raftstore.ErrUnknown, raftstore.ErrClosed, errNoShard,
}

// backups shows administrators what the cluster holds, and takes it from them.
type backups struct{ n *Node }

// Contents implements admin.Backups.
func (b backups) Contents(ctx context.Context) (c admin.Contents, err error) {
	state := b.n.control.State()
	if state.Cluster == "" {
		return c, errNotEntered
	}
	c = admin.Contents{Cluster: state.Cluster, Shards: state.Shards, Settings: maps.Clone(state.Settings)}
	for sh := range state.Shards {
		var used bool
		if err := b.n.atLeader(ctx, sh, callUsed, func(call caller) error {
			return call(nil, jsonInto(&used))
		}); err != nil {
			return c, err
		}
		if used {
			c.Used = append(c.Used, sh)
		}
	}
	return c, nil
}

var errNotEntered = errors.New("the node has not entered the cluster yet")

// Backup implements admin.Backups.
func (b backups) Backup(ctx context.Context, shard int, to io.Writer) error {
	return b.n.atLeader(ctx, shard, callBackup, func(call caller) error { return call(nil, to) })
}

// Restore implements admin.Restores. The input is read once, so that a leader that
// was lost meanwhile is the client's to look for.
func (b backups) Restore(ctx context.Context, shard int, from io.Reader) error {
	var used bool
	err := b.n.atLeader(ctx, shard, callUsed, func(call caller) error { return call(nil, jsonInto(&used)) })
	if err == nil && used {
		err = raftstore.ErrNotEmpty
	}
	if err == nil {
		err = b.n.atLeader(ctx, shard, callRestore, func(call caller) error {
			if err := call(from, io.Discard); err != nil {
				return &final{err}
			}
			return nil
		})
	}
	return told(err)
}

// Begin implements admin.Restores.
func (b backups) Begin(ctx context.Context, shard int) error {
	return told(b.n.atLeader(ctx, shard, callBegin, func(call caller) error {
		if err := call(nil, io.Discard); err != nil {
			return &final{err}
		}
		return nil
	}))
}

// told makes of what a restore came to what administrators are told.
func told(err error) error {
	switch {
	case errors.Is(err, raftstore.ErrNotEmpty), errors.Is(err, raftstore.ErrBackup), errors.Is(err, raftstore.ErrSnapshot):
		return fmt.Errorf("%w: %w", admin.ErrRefused, err)
	case errors.Is(err, raftstore.ErrUnknown), errors.Is(err, raftnet.ErrBroken):
		return fmt.Errorf("%w: %w", admin.ErrUnknown, err)
	}
	return err
}

// Set implements admin.Restores.
func (b backups) Set(ctx context.Context, settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if _, err := b.n.control.Propose(ctx, &meta.Set{Name: name, Value: settings[name]}); err != nil {
			return fmt.Errorf("set %q: %w", name, err)
		}
	}
	return nil
}

// pageBytes is about how much of records is told at a time.
const pageBytes = 1 << 20

// Records implements admin.Backups. A page ends with kind and name of its last record.
func (b backups) Records(_ context.Context, after string) (page []admin.Record, next string, err error) {
	state := b.n.control.State()
	if state.Cluster == "" {
		return nil, "", errNotEntered
	}
	kind, name, _ := strings.Cut(after, " ")
	size := 0
	for _, k := range slices.Sorted(maps.Keys(state.Records)) {
		for _, r := range state.Records[k].All() {
			if string(k) < kind || string(k) == kind && r.Name <= name {
				continue
			}
			if size >= pageBytes {
				last := page[len(page)-1]
				return page, last.Kind + " " + last.Name, nil
			}
			page = append(page, admin.Record{Kind: string(k), Name: r.Name, Value: r.Value})
			size += len(r.Name) + len(r.Value)
		}
	}
	return page, "", nil
}

// putsAtATime is how many records are given to the cluster together, to be in few commits.
const putsAtATime = 32

// Put implements admin.Restores.
func (b backups) Put(ctx context.Context, records []admin.Record) error {
	var g errgroup.Group
	g.SetLimit(putsAtATime)
	for _, r := range records {
		g.Go(func() error {
			cmd := &meta.PutRecord{Kind: meta.Kind(r.Kind), Name: r.Name, Value: r.Value}
			err := cmd.Check()
			if err == nil {
				_, err = b.n.control.Propose(ctx, cmd)
			}
			if err != nil {
				return fmt.Errorf("record %q of kind %q: %w", r.Name, r.Kind, refused(err))
			}
			return nil
		})
	}
	return g.Wait()
}

// caller makes a call to the leader of a shard.
type caller func(in io.Reader, out io.Writer) error

// While a shard has no leader that can be reached, it is looked for.
const (
	leaderPatience = 10 * time.Second
	leaderPause    = 100 * time.Millisecond
)

// atLeader has use call the leader of a shard, and again while there is none, as
// long as nothing came of it.
func (n *Node) atLeader(ctx context.Context, shard int, what uint8, use func(caller) error) error {
	store := n.store.Load()
	if store == nil {
		return errNotEntered
	}
	if shard < 0 || shard >= store.Shards() {
		return fmt.Errorf("%w: %w: %d", admin.ErrRefused, errNoShard, shard)
	}
	for begun := time.Now(); ; {
		leader, err := n.leader(router.ShardID(shard))
		wrote := false
		if err == nil {
			err = use(func(in io.Reader, out io.Writer) error {
				noted := noting{out, &wrote}
				return n.calls.Call(ctx, leader, what, []byte{byte(shard)}, in, noted)
			})
		}
		if f, ok := err.(*final); ok {
			return f.error
		}
		again := errors.Is(err, errNoLeader) || errors.Is(err, raftstore.ErrNotLeader) || errors.Is(err, raftnet.ErrUnreachable)
		if err == nil || wrote || !again || time.Since(begun) > leaderPatience {
			return err
		}
		select {
		case <-time.After(leaderPause):
		case <-ctx.Done():
			return err
		}
	}
}

// final is an error that is not to be tried again.
type final struct{ error }

var errNoLeader = errors.New("no leader is known")

// leader is the identity of who is thought to lead a shard.
func (n *Node) leader(sh router.ShardID) (identity string, err error) {
	if number, ok := n.links.Leader(sh); ok {
		if identity, ok := n.control.Identity(number); ok {
			return identity, nil
		}
	}
	return "", fmt.Errorf("shard %d: %w", sh, errNoLeader)
}

// noting notes that something was written.
type noting struct {
	io.Writer
	wrote *bool
}

func (w noting) Write(b []byte) (int, error) {
	*w.wrote = true
	return w.Writer.Write(b)
}

// jsonInto reads into v what is written, as one value.
func jsonInto(v any) io.Writer { return jsonWriter{v} }

type jsonWriter struct{ into any }

func (w jsonWriter) Write(b []byte) (int, error) { return len(b), json.Unmarshal(b, w.into) }
