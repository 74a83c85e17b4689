package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"dunlin/node/admin"
	"dunlin/node/verify"
	"dunlin/raftstore"
	"dunlin/router"
)

// What a node tells of itself to one that verifies the cluster: in JSON, lists one
// item a line.
const (
	callReplicas    uint8 = 16 + iota // its argument is the indices by shard
	callRoutes                        // no argument
	callSessions                      // of a shard, for its leader
	callConnections                   // of a shard
)

// serveAgreement answers nodes that verify the cluster.
func (n *Node) serveAgreement() {
	n.calls.Handle(callReplicas, func(_ context.Context, arg []byte, _ io.Reader, out io.Writer) error {
		at := make(map[int]uint64)
		if len(arg) > 0 {
			if err := json.Unmarshal(arg, &at); err != nil {
				return err
			}
		}
		return json.NewEncoder(out).Encode(n.ownReplicas(at))
	})
	n.calls.Handle(callRoutes, func(_ context.Context, _ []byte, _ io.Reader, out io.Writer) error {
		return json.NewEncoder(out).Encode(n.ownRoutes())
	})
	n.calls.Handle(callSessions, n.led(func(s *raftstore.Store, sh router.ShardID, _ io.Reader, out io.Writer) error {
		return n.tellSessions(s, sh, json.NewEncoder(out))
	}))
	n.calls.Handle(callConnections, n.about(func(_ *raftstore.Store, sh router.ShardID, _ io.Reader, out io.Writer) error {
		ctx, cancel := context.WithTimeout(context.Background(), claimsTimeout)
		defer cancel()
		claims, err := n.broker.Claims(ctx, sh)
		to := json.NewEncoder(out)
		for i := 0; i < len(claims) && err == nil; i++ {
			c := &claims[i]
			err = to.Encode(verify.Connection{Client: c.ClientID, Conn: uint64(c.Conn), Epoch: uint64(c.Epoch)})
		}
		return err
	}))
}

// claimsTimeout bounds how long the event loops may take to list connections.
const claimsTimeout = 10 * time.Second

func (n *Node) ownReplicas(at map[int]uint64) (all []verify.Replica) {
	store := n.store.Load()
	if store == nil {
		return nil
	}
	for i := range store.Shards() {
		sh := router.ShardID(i)
		if store.Raft(sh) == nil {
			continue
		}
		x := verify.Replica{Shard: i, Leads: store.Leads(sh), Term: store.Term(sh)}
		var now raftstore.Moment
		x.Then, x.Known, now = store.DigestAt(sh, at[i])
		x.Index, x.Digest = now.Entry, now.Digest
		all = append(all, x)
	}
	return all
}

func (n *Node) ownRoutes() verify.Routes {
	r := verify.Routes{Peers: map[string]verify.Table{}, Shards: map[int]verify.Table{}, Led: map[int]verify.Table{}}
	before, routes := n.cluster.Held(), n.routes.Load()
	r.Own = sumOwn(n.table)
	held := make(map[int][2]uint64)
	if routes != nil {
		for i := range n.store.Load().Shards() {
			if reign, version, ok := routes.Held(router.ShardID(i)); ok {
				held[i] = [2]uint64{reign, version}
			}
		}
	}
	sums := n.table.Sums()
	after := n.cluster.Held()
	for _, h := range before {
		r.Peers[h.Identity] = verify.Table{
			Version: h.Version, Whole: h.Whole, Steady: slices.Contains(after, h), Sum: sums[h.ID],
		}
	}
	for i, at := range held {
		sh := router.ShardID(i)
		reign, version, _ := routes.Held(sh)
		r.Shards[i] = verify.Table{
			Reign: at[0], Version: at[1], Whole: true, Steady: at == [2]uint64{reign, version}, Sum: sums[router.ShardNode(sh)],
		}
		if reign, table, ok := routes.Led(sh); ok {
			t := sumOwn(table)
			t.Reign = reign
			r.Led[i] = t
		}
	}
	return r
}

// sumOwn describes a table's own routes.
func sumOwn(table *router.Table) verify.Table {
	t := verify.Table{Version: table.Version(), Whole: true}
	t.Sum = table.Sums()[0]
	t.Steady = table.Version() == t.Version
	return t
}

// tellSessions lists the sessions and claims that have a connection.
func (n *Node) tellSessions(s *raftstore.Store, sh router.ShardID, to *json.Encoder) error {
	var failed error
	_, err := s.Dump(sh, func(page []raftstore.SessionInfo) bool {
		for i := range page {
			x := &page[i]
			if !x.Attached {
				continue
			}
			node, ok := n.control.Identity(x.Node)
			if !ok {
				node = fmt.Sprintf("number %d", x.Node)
			}
			failed = to.Encode(verify.Session{Client: x.ClientID, Node: node, Conn: uint64(x.Conn), Epoch: uint64(x.Epoch)})
			if failed != nil {
				return false
			}
		}
		return true
	})
	return errors.Join(failed, err)
}

// agreement has this node verify the cluster, for administrators and as the one
// that asks the others.
type agreement struct{ n *Node }

// verifyPatience is how long what differs is asked again: longer than a node that
// died holds what it held.
const verifyPatience = 20 * time.Second

// Verify implements admin.Agreement.
func (a agreement) Verify(ctx context.Context, report func(step string)) (out admin.Verification, err error) {
	store := a.n.store.Load()
	if store == nil {
		return out, errNotEntered
	}
	res, err := verify.Run(ctx, verify.Options{
		Ask: a, Nodes: a.nodes, Shards: store.Shards(),
		SessionShard: func(client string) int { return int(store.SessionShard(client)) },
		Patience:     verifyPatience, Report: report,
	})
	show := func(all []verify.Finding) []admin.Disagreement {
		shown := make([]admin.Disagreement, 0, len(all))
		for _, f := range all {
			d := admin.Disagreement{Kind: f.Kind, Node: f.Node, Client: f.Client, Text: f.Text, Line: f.String()}
			if f.Shard >= 0 {
				d.Shard = &f.Shard
			}
			shown = append(shown, d)
		}
		return shown
	}
	return admin.Verification{Findings: show(res.Findings), Unsure: show(res.Unsure)}, err
}

// nodes are those that meta knows, by name and then identity.
func (a agreement) nodes() (all []verify.Node) {
	for _, x := range a.n.control.State().Nodes {
		all = append(all, verify.Node{Identity: x.Identity, Name: x.Name})
	}
	slices.SortFunc(all, func(x, y verify.Node) int {
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Identity, y.Identity)
	})
	return all
}

// Replicas and the others implement verify.Asker.
func (a agreement) Replicas(ctx context.Context, node string, at map[int]uint64) (all []verify.Replica, err error) {
	arg, err := json.Marshal(at)
	if err == nil {
		err = a.ask(ctx, node, callReplicas, arg, &all)
	}
	return all, err
}

func (a agreement) Routes(ctx context.Context, node string) (r verify.Routes, err error) {
	err = a.ask(ctx, node, callRoutes, nil, &r)
	return r, err
}

func (a agreement) Sessions(ctx context.Context, shard int, yield func(verify.Session)) error {
	return a.n.atLeader(ctx, shard, callSessions, func(call caller) error {
		return eachLine(yield, func(to io.Writer) error { return call(nil, to) })
	})
}

func (a agreement) Connections(ctx context.Context, node string, shard int, yield func(verify.Connection)) error {
	return eachLine(yield, func(to io.Writer) error {
		return a.n.calls.Call(ctx, node, callConnections, []byte{byte(shard)}, nil, to)
	})
}

// ask reads the one answer of a node into v.
func (a agreement) ask(ctx context.Context, node string, what uint8, arg []byte, v any) error {
	var answer bytes.Buffer
	if err := a.n.calls.Call(ctx, node, what, arg, nil, &answer); err != nil {
		return err
	}
	return json.Unmarshal(answer.Bytes(), v)
}

// eachLine calls yield with each item that call writes.
func eachLine[T any](yield func(T), call func(to io.Writer) error) error {
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := call(write)
		_ = write.CloseWithError(err) // nil: the end
		ended <- err
	}()
	defer func() { _ = read.Close() }()
	from := json.NewDecoder(bufio.NewReader(read))
	for {
		var item T
		switch err := from.Decode(&item); {
		case errors.Is(err, io.EOF):
			return <-ended
		case err != nil:
			_ = read.CloseWithError(err)
			return errors.Join(err, <-ended)
		}
		yield(item)
	}
}
