package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// What Propose ends with, beside what meta refuses a command with.
var (
	// ErrUnknown: the command may have been carried out, or may yet be.
	ErrUnknown = errors.New("control: outcome unknown")
	// ErrNoLeader: the command was not carried out and never will be.
	ErrNoLeader = errors.New("control: meta has no leader that can be reached")
)

// errNotTaken says that a command came to no leader.
var errNotTaken = errors.New("control: not taken")

// fate is what became of a command.
type fate uint8

const (
	notTaken fate = iota
	unknown
	carriedOut // or refused by meta: result says
)

// outcome is a fate and a meta.Result on the wire.
type outcome struct {
	Fate fate   `json:"fate"`
	Why  string `json:"why"` // refused, or not carried out

	Index      uint64 `json:"index"`
	Node       uint32 `json:"node"`
	Start      uint64 `json:"start"`
	Generation uint64 `json:"generation"`
	Revision   uint64 `json:"revision,omitempty"`

	Level level.Level `json:"level,omitempty"` // that is in force, if the node cannot work at it
}

// Propose has meta carry out a command, through its leader wherever that is, and
// waits for it, no longer than ctx. An error that is not ErrUnknown says that
// nothing was changed; those of package meta are what the command was refused
// with.
func (c *Control) Propose(ctx context.Context, cmd meta.Command) (meta.Result, error) {
	entry := meta.Encode(cmd)
	err := errNotTaken
	for {
		if leader := c.MetaLeader(); leader != "" {
			var res meta.Result
			if res, err = c.proposeTo(ctx, leader, kindPropose, entry); !errors.Is(err, errNotTaken) {
				return res, err
			}
		}
		if perr := pause(ctx, proposePause); perr != nil {
			return meta.Result{}, fmt.Errorf("%w: %w: %w", ErrNoLeader, perr, err)
		}
	}
}

// proposePause is how long Propose waits for a leader before it looks again.
const proposePause = 50 * time.Millisecond

// proposeTo asks a node that is thought to lead meta for something that becomes a
// command: errNotTaken, ErrUnknown, what meta refused it with, or nil.
func (c *Control) proposeTo(ctx context.Context, leader string, kind uint8, body []byte) (meta.Result, error) {
	var o outcome
	err := c.ask(ctx, leader, kind, body, &o)
	var failure raftnet.Failure
	switch {
	case err == nil:
		return o.result()
	case errors.Is(err, raftnet.ErrUnreachable) || errors.As(err, &failure):
		return meta.Result{}, fmt.Errorf("%w: node %s: %w", errNotTaken, leader, err)
	default:
		return meta.Result{}, fmt.Errorf("%w: node %s: %w", ErrUnknown, leader, err)
	}
}

// servePropose carries out what another node proposes.
func (c *Control) servePropose(_ string, entry []byte) (any, error) { return c.apply(entry), nil }

// applyTimeout bounds how long a command waits to be taken.
const applyTimeout = 2 * time.Second

// apply has meta carry out an entry, if this node leads it. Its Raft answers, for
// a leader that reaches no majority steps down.
func (c *Control) apply(entry []byte) outcome {
	r := c.meta()
	if r == nil || r.State() != raft.Leader {
		return outcome{Why: "it does not lead meta"}
	}
	if asked := asksFor(entry); asked != nil {
		return c.applySparing(r, entry, asked)
	}
	return c.commit(r, entry)
}

// commit has r, which leads meta, carry out an entry.
func (c *Control) commit(r *raft.Raft, entry []byte) outcome {
	f := r.Apply(entry, applyTimeout)
	switch err := f.Error(); {
	case err == nil:
		spread(r)
		res := f.Response().(meta.Result)
		o := outcome{
			Fate: carriedOut, Index: res.Index,
			Node: res.Node, Start: res.Start, Generation: res.Generation, Revision: res.Revision,
		}
		if res.Err != nil {
			o.Why = res.Err.Error()
		}
		return o
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return outcome{Why: err.Error()}
	default:
		return outcome{Fate: unknown, Why: err.Error()}
	}
}

// refusals are what meta refuses a command with, or its leader.
var refusals = []error{
	meta.ErrFormed, meta.ErrNotFormed, meta.ErrNoNode, meta.ErrStale, meta.ErrHolds, meta.ErrConflict,
	meta.ErrOver, meta.ErrNotYet, meta.ErrLast, meta.ErrInvalid, meta.ErrTooLarge, meta.ErrRelease,
	meta.ErrNoRecord, meta.ErrChanged, meta.ErrFull, ErrLastOpen, ErrTooFew,
}

func (o outcome) result() (meta.Result, error) {
	switch {
	case o.Level != 0:
		return meta.Result{}, &level.Error{Level: o.Level}
	case o.Fate == notTaken:
		return meta.Result{}, fmt.Errorf("%w: %s", errNotTaken, o.Why)
	case o.Fate == unknown:
		return meta.Result{}, fmt.Errorf("%w: %s", ErrUnknown, o.Why)
	case o.Why == "":
		return meta.Result{Index: o.Index, Node: o.Node, Start: o.Start, Generation: o.Generation, Revision: o.Revision}, nil
	}
	err := errors.New(o.Why)
	for _, r := range refusals {
		if r.Error() == o.Why {
			err = r
		}
	}
	return meta.Result{Err: err, Index: o.Index}, err
}

// propose is apply for this node's own commands as leader.
func (c *Control) propose(cmd meta.Command) error {
	_, err := c.apply(meta.Encode(cmd)).result()
	return err
}

// decodeOrRefuse reads the body of an ask.
func decodeOrRefuse(body []byte, to any) error {
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("control: ask: %w", err)
	}
	return nil
}
