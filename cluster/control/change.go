package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// changeKind is something that the leader of a group can be asked to do.
type changeKind string

const (
	addLearner changeKind = "add"
	promote    changeKind = "promote"
	demote     changeKind = "demote"
	remove     changeKind = "remove"
	transfer   changeKind = "transfer leadership to"
	// confirm does nothing, but for making sure that the configuration still is the
	// one of that index.
	confirm changeKind = "confirm"
)

// changeRequest asks a group's leader for a change of the configuration that has
// that index, which is committed. If it comes late, or twice, another one is, and
// nothing is changed.
type changeRequest struct {
	Group uint16     `json:"group"`
	Kind  changeKind `json:"kind"`
	Node  string     `json:"node"` // identity
	Index uint64     `json:"index"`
}

var (
	errNoReplica = errors.New("control: no replica of the group runs here")
	errChanged   = errors.New("control: the group's configuration has changed")
	errRestoring = errors.New("control: the group is being restored, and its leader stays until it has begun")
)

// Timeouts of a change: to be taken up by the group's Raft, and for the answer to
// come. A leader that reaches no majority steps down meanwhile.
const (
	takeTimeout   = 2 * time.Second
	changeTimeout = 5 * time.Second
)

// change asks leader, and returns when the change is committed. After an error it
// may be, or may yet be.
func (c *Control) change(ctx context.Context, leader string, q changeRequest) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	var done struct{}
	return c.ask(ctx, leader, kindChange, body, &done)
}

func (c *Control) serveChange(_ string, body []byte) (any, error) {
	var q changeRequest
	if err := decodeOrRefuse(body, &q); err != nil {
		return nil, err
	}
	rep := c.replica(q.Group)
	if rep == nil {
		return nil, errNoReplica
	}
	ctx, cancel := context.WithTimeout(c.ctx, changeTimeout)
	defer cancel()
	err := rep.change(ctx, q)
	if err == nil && q.Group == MetaGroup {
		spread(rep.raft)
	}
	return struct{}{}, err
}

func (rep *replica) change(ctx context.Context, q changeRequest) error {
	done, ok := rep.use()
	if !ok {
		return errNoReplica
	}
	defer done()
	r := rep.raft
	if r.State() != raft.Leader {
		return raft.ErrNotLeader
	}
	id, addr := raft.ServerID(q.Node), raft.ServerAddress(q.Node)
	if q.Kind == addLearner || q.Kind == promote {
		if err := rep.settle(ctx); err != nil {
			return err
		}
	}
	switch q.Kind {
	case addLearner:
		return r.AddNonvoter(id, addr, q.Index, takeTimeout).Error()
	case promote:
		return r.AddVoter(id, addr, q.Index, takeTimeout).Error()
	case demote:
		return r.DemoteVoter(id, q.Index, takeTimeout).Error()
	case remove:
		return r.RemoveServer(id, q.Index, takeTimeout).Error()
	case transfer:
		if rep.restoring() {
			return errRestoring
		}
		return r.LeadershipTransferToServer(id, addr).Error()
	case confirm:
		if err := r.VerifyLeader().Error(); err != nil {
			return err
		}
		if g := rep.report(); !g.Leads || g.Index != q.Index {
			return errChanged
		}
		return nil
	}
	return fmt.Errorf("control: unknown change %q", q.Kind)
}
