package admin

import (
	"net/http"
	"strconv"
)

// Shards are the replicas that this node has of the cluster's shards. Calls come
// from HTTP goroutines; they wait for a shard between two of its entries.
type Shards interface {
	// Replicas lists them by ascending shard: none where shards are not
	// replicated.
	Replicas() []Replica
	// Sessions lists up to limit of what a shard's replica holds, from cursor on,
	// 0 at first. It reports false if there is no such replica here.
	Sessions(shard int, cursor uint32, limit int) (page SessionPage, found bool)
}

// Replica is this node's replica of one shard. Digests of one shard are equal on
// all nodes at an equal index, or the replicas have parted (D6).
type Replica struct {
	Shard   int      `json:"shard"`
	Role    string   `json:"role"`             // leader, follower, candidate or shutdown
	Leader  string   `json:"leader,omitempty"` // the leader's identity, if it is known
	Voters  []string `json:"voters"`           // identities, of the latest configuration in its log
	Term    uint64   `json:"term"`
	Commit  uint64   `json:"commit"`  // index of the latest entry known to be committed
	Last    uint64   `json:"last"`    // index of the latest entry of its log
	Applied uint64   `json:"applied"` // index that Digest speaks of
	Digest  string   `json:"digest"`  // 16 hexadecimal digits
}

// ReplicaList answers GET /api/v1/shards.
type ReplicaList struct {
	Node   string    `json:"node"`   // identity of the node that answers
	Shards []Replica `json:"shards"` // its own replicas
}

// Session is a session, or the claim of a connection without one, as one replica
// holds it.
type Session struct {
	ClientID      string `json:"client_id"`
	Epoch         uint64 `json:"epoch"` // of its latest claim
	Attached      bool   `json:"attached"`
	Stored        bool   `json:"stored"` // it outlives its connection
	Expiry        uint32 `json:"expiry_seconds"`
	Subscriptions int    `json:"subscriptions"`
	Inflight      int    `json:"inflight"` // deliveries in the committed window
	Queued        int    `json:"queued"`   // behind it
}

// SessionPage answers GET /api/v1/shards/{shard}/sessions: what the replica held
// at some index from Since to Until.
type SessionPage struct {
	Since    uint64    `json:"since"`
	Until    uint64    `json:"until"`
	Sessions []Session `json:"sessions"`
	Next     uint32    `json:"next,omitempty"` // "cursor" of the next page; 0 on the last
}

func (s *Server) shards(w http.ResponseWriter, r *http.Request) {
	list := ReplicaList{Shards: s.Shards.Replicas()}
	for _, n := range s.Cluster.Nodes() {
		if n.Self {
			list.Node = n.Identity
		}
	}
	if list.Shards == nil {
		list.Shards = []Replica{}
	}
	answer(w, list)
}

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	shard, err := strconv.Atoi(r.PathValue("shard"))
	if err != nil {
		fail(w, http.StatusBadRequest, "shard: want a number")
		return
	}
	cursor, ok := number(w, r, "cursor", 0, 1<<31-1)
	if !ok {
		return
	}
	limit, ok := number(w, r, "limit", defaultPage, maxPage)
	if !ok {
		return
	}
	page, found := s.Shards.Sessions(shard, uint32(cursor), max(limit, 1))
	if !found {
		fail(w, http.StatusNotFound, "this node has no replica of that shard")
		return
	}
	if page.Sessions == nil {
		page.Sessions = []Session{}
	}
	answer(w, page)
}

// number is a parameter from 0 to most, or fallback if it is not given; if it is
// neither, the request is answered.
func number(w http.ResponseWriter, r *http.Request, name string, fallback, most int) (n int, ok bool) {
	v := r.FormValue(name)
	if v == "" {
		return fallback, true
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		fail(w, http.StatusBadRequest, name+": want a number up to "+strconv.Itoa(most))
		return 0, false
	}
	return n, true
}
