package node

import (
	"context"
	"errors"
	"sort"
	"time"

	"dunlin/cluster/lease"
	"dunlin/node/admin"
	"dunlin/node/broker"
)

// members shows the cluster to administrators.
type members struct{ n *Node }

func (m members) Nodes() []admin.Node {
	var out []admin.Node
	for _, x := range m.n.cluster.Nodes() {
		addrs := map[string]string{"cluster": x.ClusterAddr}
		for k, v := range x.Meta {
			addrs[k] = v
		}
		state := x.State
		if s := m.n.lease.Standing(); x.ID == 0 && s != lease.Leased {
			state = s.String()
		}
		out = append(out, admin.Node{
			Name: x.Name, Identity: x.Identity, State: state, Self: x.ID == 0, Address: addrs,
		})
	}
	return out
}

func (m members) Ready() error {
	if err := m.n.missing(); err != nil {
		return err
	}
	if !m.n.serving.Load() {
		return errors.New("not taking clients")
	}
	if m.n.control.Leaving() {
		return errors.New("leaving the cluster")
	}
	return m.n.draining.missing()
}

// clients shows the node's clients to administrators.
type clients struct{ n *Node }

func (c clients) List(ctx context.Context, after string, limit int) ([]admin.Client, error) {
	all, err := c.n.broker.Clients(ctx)
	if err != nil {
		return nil, err
	}
	first := sort.Search(len(all), func(i int) bool { return all[i].ClientID > after })
	all = all[first:]
	if len(all) > limit {
		all = all[:limit]
	}
	out := make([]admin.Client, len(all))
	for i := range all {
		out[i] = c.show(&all[i])
	}
	return out, nil
}

func (c clients) Get(ctx context.Context, id string) (admin.Client, bool, error) {
	all, err := c.n.broker.Clients(ctx)
	if err != nil {
		return admin.Client{}, false, err
	}
	for i := range all {
		if all[i].ClientID == id {
			return c.show(&all[i]), true, nil
		}
	}
	return admin.Client{}, false, nil
}

func (c clients) Kick(ctx context.Context, id string) (bool, error) {
	n, err := c.n.broker.Kick(ctx, id)
	return n > 0, err
}

func (c clients) show(x *broker.ClientInfo) admin.Client {
	return admin.Client{
		ClientID: x.ClientID, Username: x.User, Node: c.n.cfg.NodeName,
		Remote: x.Remote.String(), Version: x.Version.String(),
		Connected: time.Now().Add(-x.Connected), KeepAlive: int(x.KeepAlive / time.Second),
		Subscriptions: x.Subscriptions, Inflight: x.Inflight, Queued: x.Queued,
	}
}
