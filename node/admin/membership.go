package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// Membership is the whole cluster, as operators see and change it. Calls come from
// HTTP goroutines. Errors that are not Refusals say that the cluster could not be
// asked now.
type Membership interface {
	// Status asks all nodes what they hold.
	Status(ctx context.Context) (ClusterStatus, error)
	// Remove has a node emptied, after which it belongs to the cluster no more;
	// stays takes that back while it still holds something. A node is named by its
	// name, number or identity.
	Remove(ctx context.Context, node string, stays bool) error
	// Rebalance has leaders move to the nodes that lead least, as soon as all nodes
	// are there.
	Rebalance(ctx context.Context) error
	// Transfer has a node lead a group: a shard by its number, or "meta".
	Transfer(ctx context.Context, group, node string) error
}

// Replication is how often the cluster keeps what it holds. For calls and errors see
// Membership.
type Replication interface {
	// SetReplicas changes how many replicas of each group there are to be, from 1 to
	// MaxReplicas, and returns when that is decided: they come and go afterwards.
	SetReplicas(ctx context.Context, want int) error
}

// MaxReplicas is how many replicas of a group may be asked for.
const MaxReplicas = 9

// Refusal is why something that was asked for is not done.
type Refusal struct {
	Code int // of HTTP
	error
}

// NotFound refuses what names a thing that is not there.
func NotFound(err error) error { return &Refusal{http.StatusNotFound, err} }

// Conflict refuses what cannot be done as things are.
func Conflict(err error) error { return &Refusal{http.StatusConflict, err} }

// Invalid refuses what can never be.
func Invalid(err error) error { return &Refusal{http.StatusBadRequest, err} }

// ClusterStatus answers GET /api/v1/cluster.
type ClusterStatus struct {
	Cluster string        `json:"cluster"`            // identity
	Factor  int           `json:"replication_factor"` // replicas wanted of each group
	Level   uint32        `json:"level"`              // in force: what all nodes understand
	Nodes   []ClusterNode `json:"nodes"`              // by number
	Groups  []Group       `json:"groups"`             // shards by number, then meta
}

// ClusterNode is a node that has entered the cluster and not left it.
type ClusterNode struct {
	Number   uint32 `json:"number"` // never given to another node
	Name     string `json:"name"`
	Identity string `json:"identity"` // of its data directory
	Start    uint64 `json:"start"`    // how often it has started
	Alive    bool   `json:"alive"`    // it has answered
	Admitted bool   `json:"admitted"` // it may take clients
	Leaving  bool   `json:"leaving"`  // it is being emptied

	Release     string `json:"release,omitempty"` // that it runs, or ran when it was last heard; empty if that does not say so
	OldestLevel uint32 `json:"oldest_level"`      // the levels that this can work at
	NewestLevel uint32 `json:"newest_level"`

	Clients *int       `json:"clients,omitempty"` // that are connected to it; none if it does not say
	ToAsk   int        `json:"to_ask,omitempty"`  // clients that it is to send elsewhere for connections to be even
	Drain   *NodeDrain `json:"drain,omitempty"`   // none if it is not drained
}

// Group is one Raft group.
type Group struct {
	Group    string         `json:"group"`            // a shard's number, or meta
	Leader   string         `json:"leader,omitempty"` // identity; none if no leader has answered
	Term     uint64         `json:"term"`
	Commit   uint64         `json:"commit"` // index of the latest entry committed
	Replicas []GroupReplica `json:"replicas"`
}

// GroupReplica is a group's replica on one node.
type GroupReplica struct {
	Node    string `json:"node"` // identity
	Voter   bool   `json:"voter"`
	Running bool   `json:"running"` // the node has answered that it is
	Applied uint64 `json:"applied"` // index of the latest entry that it holds
}

func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	st, err := s.Membership.Status(ctx)
	if err != nil {
		s.refuse(w, err)
		return
	}
	answer(w, st)
}

func (s *Server) removeNode(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, func(ctx context.Context) error { return s.Membership.Remove(ctx, r.PathValue("node"), false) })
}

func (s *Server) keepNode(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, func(ctx context.Context) error { return s.Membership.Remove(ctx, r.PathValue("node"), true) })
}

func (s *Server) rebalance(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, s.Membership.Rebalance)
}

func (s *Server) transfer(w http.ResponseWriter, r *http.Request) {
	node := r.FormValue("node")
	if node == "" {
		fail(w, http.StatusBadRequest, "node: want the name of the node that is to lead")
		return
	}
	s.operate(w, r, func(ctx context.Context) error { return s.Membership.Transfer(ctx, r.PathValue("group"), node) })
}

func (s *Server) replicas(w http.ResponseWriter, r *http.Request) {
	want, err := strconv.Atoi(r.FormValue("factor"))
	if err != nil || want < 1 || want > MaxReplicas {
		fail(w, http.StatusBadRequest, fmt.Sprintf("factor: want a number from 1 to %d", MaxReplicas))
		return
	}
	s.operate(w, r, func(ctx context.Context) error { return s.Replication.SetReplicas(ctx, want) })
}

// operate does what the request asks for, and says that it has been begun.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("the cluster was changed by the API", "method", r.Method, "path", r.URL.Path)
	w.WriteHeader(http.StatusAccepted)
}
