package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Replica is a node's replica of one shard, as GET /api/v1/shards shows it.
type Replica struct {
	Shard   int      `json:"shard"`
	Role    string   `json:"role"`
	Leader  string   `json:"leader"` // identity
	Voters  []string `json:"voters"` // identities
	Term    uint64   `json:"term"`
	Commit  uint64   `json:"commit"`
	Last    uint64   `json:"last"`
	Applied uint64   `json:"applied"`
	Digest  string   `json:"digest"`
}

// Session is what a replica holds of a client identifier.
type Session struct {
	ClientID      string `json:"client_id"`
	Epoch         uint64 `json:"epoch"`
	Attached      bool   `json:"attached"`
	Stored        bool   `json:"stored"`
	Subscriptions int    `json:"subscriptions"`
	Inflight      int    `json:"inflight"`
	Queued        int    `json:"queued"`
	// The page that had it was read at an index of the shard's log between these.
	Since, Until uint64 `json:"-"`
}

// Replicas lists the replicas that the node has.
func (n *Node) Replicas() (rs []Replica, err error) {
	var list struct{ Shards []Replica }
	err = n.ask("/api/v1/shards", &list)
	return list.Shards, err
}

// Sessions lists what the node's replica of a shard holds.
func (n *Node) Sessions(shard int) (all []Session, err error) {
	for cursor := uint32(0); ; {
		var page struct {
			Since, Until uint64
			Sessions     []Session
			Next         uint32
		}
		if err := n.ask(fmt.Sprintf("/api/v1/shards/%d/sessions?limit=1000&cursor=%d", shard, cursor), &page); err != nil {
			return all, err
		}
		for _, s := range page.Sessions {
			s.Since, s.Until = page.Since, page.Until
			all = append(all, s)
		}
		if cursor = page.Next; cursor == 0 {
			return all, nil
		}
	}
}

// ask fetches a page of the API and decodes it.
func (n *Node) ask(path string, v any) error {
	body, err := n.fetch(path)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), v)
}

// fetch fetches a page by way of admin.sock, which serves everything wherever
// the node's addresses lead.
func (n *Node) fetch(path string) (body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: n.socket}}
	if body, err = do(&client, req); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return body, err
}

// socket dials admin.sock by way of its folder, since a path may be too long for
// a socket's address.
func (n *Node) socket(ctx context.Context, _, _ string) (net.Conn, error) {
	dir, err := os.Open(n.Files())
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join("/proc/self/fd", fmt.Sprint(dir.Fd()), "admin.sock"))
}

// Replicated says whether shards are replicated: whether a running node has a
// replica.
func (c *Cluster) Replicated() bool {
	c.t.Helper()
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		if rs, err := n.Replicas(); err != nil {
			c.t.Fatalf("%s: %v", n.Name, err)
		} else if len(rs) > 0 {
			return true
		}
	}
	return false
}

// NeedReplicas skips the test, and says so, where shards are not replicated.
func (c *Cluster) NeedReplicas() {
	c.t.Helper()
	if !c.Replicated() {
		c.t.Skip("left out: shards are not replicated")
	}
}

// Leader waits until a shard has a leader among the running nodes and returns
// it: the one of the highest term.
func (c *Cluster) Leader(shard int) (leader *Node) {
	c.t.Helper()
	Eventually(c.t, fmt.Sprintf("shard %d has a leader", shard), func() error {
		var term uint64
		leader = nil
		for _, n := range c.Nodes {
			if !n.Running() {
				continue
			}
			rs, err := n.Replicas()
			if err != nil {
				continue
			}
			for _, r := range rs {
				if r.Shard == shard && r.Role == "leader" && r.Term > term {
					leader, term = n, r.Term
				}
			}
		}
		if leader == nil {
			return errors.New("none")
		}
		return nil
	})
	return leader
}

// Home is the shard that holds a client identifier's session.
func (c *Cluster) Home(clientID string) (shard int) {
	c.t.Helper()
	Eventually(c.t, clientID+" has a session", func() error {
		for _, n := range c.Nodes {
			if !n.Running() {
				continue
			}
			rs, err := n.Replicas()
			if err != nil {
				return err
			}
			for _, r := range rs {
				all, err := n.Sessions(r.Shard)
				if err != nil {
					return err
				}
				if slices.ContainsFunc(all, func(s Session) bool { return s.ClientID == clientID }) {
					shard = r.Shard
					return nil
				}
			}
		}
		return errors.New("no replica has one")
	})
	return shard
}

// Whole says whether every shard has so many voters, each of which runs and is a
// replica that knows of them; the error is the first that lacks something.
func (c *Cluster) Whole(voters int) error {
	_, err := c.voters(voters)
	return err
}

// voters are the replicas of each shard that vote.
func (c *Cluster) voters(number int) (of map[int][]Replica, err error) {
	of = make(map[int][]Replica)
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		var list struct {
			Node   string
			Shards []Replica
		}
		if err := n.ask("/api/v1/shards", &list); err != nil {
			return nil, err
		}
		for _, r := range list.Shards {
			if len(r.Voters) != number {
				return nil, fmt.Errorf("shard %d has %d voters, for %s", r.Shard, len(r.Voters), n.Name)
			}
			if slices.Contains(r.Voters, list.Node) {
				of[r.Shard] = append(of[r.Shard], r)
			}
		}
	}
	for shard, rs := range of {
		if len(rs) < number {
			return nil, fmt.Errorf("shard %d has %d replicas that vote and run", shard, len(rs))
		}
	}
	return of, nil
}

// WaitAgree waits until every shard has so many voters, all of which run, know
// of one another and are at one index, and fails the test if their digests differ
// there (D6). Nothing may be published meanwhile.
func (c *Cluster) WaitAgree(voters int) {
	c.t.Helper()
	Eventually(c.t, fmt.Sprintf("each shard has %d voters at one index", voters), func() error {
		of, err := c.voters(voters)
		if err != nil {
			return err
		}
		for shard, rs := range of {
			for _, r := range rs[1:] {
				if r.Applied != rs[0].Applied {
					return fmt.Errorf("shard %d is at %d and at %d: %+v", shard, rs[0].Applied, r.Applied, rs)
				}
				if r.Digest != rs[0].Digest {
					c.t.Fatalf("shard %d at %d: digests %s and %s", shard, r.Applied, rs[0].Digest, r.Digest)
				}
			}
		}
		return nil
	})
}

// Wipe removes the data of a node that is not running: what starts next is a new
// node of the same name (D5).
func (n *Node) Wipe() {
	n.t.Helper()
	if n.Running() {
		n.t.Fatalf("harness: %s is running", n.Name)
	}
	if err := os.RemoveAll(n.Dir); err != nil {
		n.t.Fatal(err)
	}
}
