package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"dunlin/cluster/control"
	"dunlin/node/admin"
	"dunlin/raftstore/meta"
)

// membership shows the whole cluster to administrators, and lets them change it.
type membership struct{ n *Node }

func (m membership) Status(ctx context.Context) (admin.ClusterStatus, error) {
	var loads map[string]nodeLoad
	var asking sync.WaitGroup // each waits for nodes that do not answer
	asking.Go(func() { loads = m.n.loads(ctx) })
	st := m.n.control.Status(ctx)
	asking.Wait()
	if st.Cluster == "" {
		return admin.ClusterStatus{}, errNotEntered
	}
	out := admin.ClusterStatus{Cluster: st.Cluster, Factor: st.Factor, Level: uint32(st.Level)}
	drains := control.Drains(m.n.control.State())
	for _, x := range st.Nodes {
		node := admin.ClusterNode{
			Number: x.Number, Name: x.Name, Identity: x.Identity, Start: x.Start,
			Alive: x.Alive, Admitted: x.Admitted, Leaving: x.Leaving,
			Release: x.Release, OldestLevel: uint32(x.Levels.Oldest), NewestLevel: uint32(x.Levels.Newest),
		}
		l, told := loads[x.Identity]
		if told {
			node.Clients, node.ToAsk = &l.Clients, l.ToAsk
		}
		if d, ok := drains[x.Identity]; ok {
			node.Drain = &admin.NodeDrain{Cordon: d.Cordon, ForGood: d.Moved, UntilRestart: d.Start != 0, Rate: d.Rate, Phase: l.Phase}
		}
		out.Nodes = append(out.Nodes, node)
	}
	for _, g := range st.Groups {
		group := admin.Group{Group: strconv.Itoa(int(g.Group)), Leader: g.Leader, Term: g.Term, Commit: g.Commit}
		if g.Group == control.MetaGroup {
			group.Group = metaName
		}
		for _, r := range g.Replicas {
			group.Replicas = append(group.Replicas, admin.GroupReplica(r))
		}
		out.Groups = append(out.Groups, group)
	}
	return out, nil
}

func (m membership) Remove(ctx context.Context, node string, stays bool) error {
	return refused(m.n.control.Leave(ctx, node, stays))
}

func (m membership) Rebalance(ctx context.Context) error {
	return refused(m.n.control.Rebalance(ctx))
}

func (m membership) Transfer(ctx context.Context, group, node string) error {
	id := uint64(control.MetaGroup)
	if group != metaName {
		var err error
		if id, err = strconv.ParseUint(group, 10, 16); err != nil || id == uint64(control.MetaGroup) {
			return admin.NotFound(fmt.Errorf("group %q: want the number of a shard, or %s", group, metaName))
		}
	}
	return refused(m.n.control.Transfer(ctx, uint16(id), node))
}

func (m membership) SetReplicas(ctx context.Context, want int) error {
	return refused(m.n.control.SetFactor(ctx, want))
}

// refused says which of control's errors are about what was asked for, and not
// about whether it could be.
func refused(err error) error {
	switch {
	case errors.Is(err, control.ErrNoNode), errors.Is(err, control.ErrNoGroup):
		return admin.NotFound(err)
	case errors.Is(err, meta.ErrLast), errors.Is(err, control.ErrNotNow), errors.Is(err, meta.ErrFull):
		return admin.Conflict(err)
	case errors.Is(err, meta.ErrInvalid), errors.Is(err, meta.ErrTooLarge):
		return admin.Invalid(err)
	case errors.Is(err, control.ErrUnknown):
		return fmt.Errorf("%w: %w", admin.ErrUnknown, err)
	}
	return err
}
