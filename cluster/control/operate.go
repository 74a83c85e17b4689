package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"dunlin/raftstore/meta"
)

// What operators ask for in vain.
var (
	ErrNoNode  = errors.New("no such node")
	ErrNoGroup = errors.New("no such group")
	ErrNotNow  = errors.New("not possible now")
)

// Leave has a node emptied: its replicas go to the others, and when it holds none
// it has left the cluster. stays takes that back, while it still holds some. The
// node is named by its name, its number or its identity. When Leave returns nil, State
// has it. Errors are ErrNoNode, those of Propose, meta.ErrLast, and ErrNotNow together with
// ErrLastOpen if it has clients who would have nowhere to go.
func (c *Control) Leave(ctx context.Context, node string, stays bool) error {
	s := c.State()
	number, err := find(s, node)
	if err != nil {
		return err
	}
	if !stays {
		if err := c.sparing(s).sparesForGood(number); err != nil {
			return fmt.Errorf("%w: %w", ErrNotNow, err)
		}
	}
	// A leader that is emptied hands meta over, and may lose a command of which nobody
	// knows then.
	done, err := c.proposeAgain(ctx, &meta.Leave{Node: number, Stays: stays})
	switch {
	case err == nil:
		return c.learn(ctx, done.Index)
	case errors.Is(err, meta.ErrNoNode) && !stays:
		return nil // it was there when this began, and has left
	case errors.Is(err, meta.ErrNoNode):
		return fmt.Errorf("%q: %w: it has left the cluster", node, ErrNoNode)
	}
	return notNow(err)
}

// proposeAgain is Propose of a command of which two are as one, so that it can be proposed
// until its outcome is known.
func (c *Control) proposeAgain(ctx context.Context, cmd meta.Command) (meta.Result, error) {
	var lost error
	for {
		done, err := c.Propose(ctx, cmd)
		switch {
		case errors.Is(err, ErrUnknown):
			if lost = err; pause(ctx, proposePause) == nil {
				continue
			}
		case errors.Is(err, ErrNoLeader) && lost != nil:
			return done, lost
		}
		return done, err
	}
}

// learn waits until this node's replica of meta has an entry that was carried out.
func (c *Control) learn(ctx context.Context, index uint64) error {
	for {
		changed := c.changed()
		if c.State().Index >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: it was carried out, and this node has not heard of it: %w", ErrUnknown, ctx.Err())
		}
	}
}

// SetFactor changes how many replicas of each group there are to be. A group has
// the largest odd number of voters that factor and the number of nodes allow.
func (c *Control) SetFactor(ctx context.Context, factor int) error {
	_, err := c.Propose(ctx, &meta.SetFactor{Factor: factor})
	return err
}

// Rebalance has leaders move to where they are fewest as soon as all nodes are
// there, rather than when they have been for some time.
func (c *Control) Rebalance(ctx context.Context) error {
	leader := c.MetaLeader()
	if leader == "" {
		return ErrNoLeader
	}
	var done struct{}
	return c.ask(ctx, leader, kindRebalance, nil, &done)
}

func (c *Control) serveRebalance(string, []byte) (any, error) {
	if !c.Leading() {
		return nil, fmt.Errorf("%w: this node does not lead meta any more", ErrNotNow)
	}
	c.rebalance.Store(true)
	signal(c.wake)
	return struct{}{}, nil
}

// Transfer has a node lead a group, which is a shard or MetaGroup. It returns when
// the node has been told to; balance may move the leadership again.
func (c *Control) Transfer(ctx context.Context, group uint16, node string) error {
	s := c.State()
	number, err := find(s, node)
	if err != nil {
		return err
	}
	if group != MetaGroup && int(group) >= s.Shards {
		return fmt.Errorf("shard %d: %w: there are 0 to %d, and meta", group, ErrNoGroup, s.Shards-1)
	}
	var ids []string
	for _, n := range s.Nodes {
		ids = append(ids, n.Identity)
	}
	o := outlook{state: s, reports: c.reports(ctx, ids)}
	to := s.Nodes[number].Identity
	leader, lead := o.leader(group)
	member, _ := lead.server(to)
	switch {
	case leader == to:
		return nil
	case leader == "":
		return fmt.Errorf("%w: the group has no leader that answers", ErrNotNow)
	case !member.Voter:
		var voters []string
		for _, v := range lead.Servers {
			if v.Voter {
				voters = append(voters, nameOf(s, v.Node))
			}
		}
		return fmt.Errorf("%w: %s does not vote in the group; those that do are %v", ErrNotNow, node, voters)
	case !o.current(group, lead, to):
		return fmt.Errorf("%w: %s is still catching up", ErrNotNow, node)
	}
	if err := c.change(ctx, leader, changeRequest{Group: group, Kind: transfer, Node: to, Index: lead.Index}); err != nil {
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	return nil
}

// find gives the number of a node that is named by people.
func find(s *meta.State, node string) (number uint32, err error) {
	var named []uint32
	for _, k := range slices.Sorted(maps.Keys(s.Nodes)) {
		n := s.Nodes[k]
		if n.Identity == node {
			return k, nil
		}
		if n.Name == node {
			named = append(named, k)
		}
	}
	if len(named) == 0 {
		if k, err := strconv.ParseUint(node, 10, 32); err == nil && s.Nodes[uint32(k)].Identity != "" {
			return uint32(k), nil
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return 0, fmt.Errorf("%q: %w; there are %v", node, ErrNoNode, names(s))
	}
	return 0, fmt.Errorf("%q: %w: nodes %v are called so, name one by its number", node, ErrNoNode, named)
}

func names(s *meta.State) (names []string) {
	for _, k := range slices.Sorted(maps.Keys(s.Nodes)) {
		names = append(names, s.Nodes[k].Name)
	}
	return names
}
