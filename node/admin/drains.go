package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Drains have clients leave nodes, or spread over them. For calls and errors see Membership.
type Drains interface {
	// Drain has a node take no clients, hand over what it leads, and ask its clients to go
	// elsewhere, in place of a former order. It returns when the cluster knows.
	Drain(ctx context.Context, node string, o DrainOrder) error
	// Undrain takes that back; what is not drained stays as it is.
	Undrain(ctx context.Context, node string) error
	// Even has nodes with more than their part of the connections ask clients to go, no more
	// than rate in a second together, and says which.
	Even(ctx context.Context, rate int) (Evening, error)
}

// DrainOrder is how a node is to be drained.
type DrainOrder struct {
	Cordon       bool          // nobody is asked to go, nor anything handed over
	Force        bool          // also if shards would have no majority without the node and those that are drained or not there
	ForGood      bool          // 5.0 clients are told that the node is not to be used again
	UntilRestart bool          // it is over when the node starts anew
	Rate         int           // clients that are asked to go in a second, 1 to MaxRate
	Notice       time.Duration // that load balancers have before anybody is refused or asked, 0 to MaxNotice
}

// Bounds of a DrainOrder, and the rate of one that does not say any.
const (
	MaxRate     = 100_000
	DefaultRate = 500
	MaxNotice   = time.Hour
)

// NodeDrain is how far a drain is. What the node leads still is in the Groups of ClusterStatus.
type NodeDrain struct {
	Cordon       bool   `json:"cordon"`
	ForGood      bool   `json:"for_good"`
	UntilRestart bool   `json:"until_restart"`
	Rate         int    `json:"rate"`            // clients a second
	Phase        string `json:"phase,omitempty"` // one of the Phases; none if the node does not say
}

// The phases of a drain.
const (
	PhaseNotice   = "notice"   // clients are let in still
	PhaseCordoned = "cordoned" // none are let in, and none are asked to go
	PhaseAsking   = "asking"   // clients are being asked to go
	PhaseAsked    = "asked"    // there are none any more
)

// Evening answers POST /api/v1/cluster/connections/rebalance.
type Evening struct {
	Nodes []EveningNode `json:"nodes"` // that have too many, none if connections are even
}

// EveningNode is a node that asks clients to go.
type EveningNode struct {
	Name     string `json:"name"`
	Identity string `json:"identity"`
	Asks     int    `json:"asks"`             // how many
	Rate     int    `json:"rate"`             // in a second
	Failed   string `json:"failed,omitempty"` // why it does not, if it does not
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	var o DrainOrder
	for name, to := range map[string]*bool{"cordon": &o.Cordon, "force": &o.Force, "for-good": &o.ForGood, "until-restart": &o.UntilRestart} {
		v, ok := truth(w, r, name)
		if !ok {
			return
		}
		*to = v
	}
	var ok bool
	if o.Rate, ok = rate(w, r); !ok {
		return
	}
	if v := r.FormValue("notice"); v != "" {
		var err error
		if o.Notice, err = time.ParseDuration(v); err != nil || o.Notice < 0 || o.Notice > MaxNotice {
			fail(w, http.StatusBadRequest, fmt.Sprintf("notice: want a time such as 5s, up to %v", MaxNotice))
			return
		}
	}
	s.operate(w, r, func(ctx context.Context) error { return s.Drains.Drain(ctx, r.PathValue("node"), o) })
}

func (s *Server) undrain(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, func(ctx context.Context) error { return s.Drains.Undrain(ctx, r.PathValue("node")) })
}

func (s *Server) evenConnections(w http.ResponseWriter, r *http.Request) {
	each, ok := rate(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	e, err := s.Drains.Even(ctx, each)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("connections are evened out by the API", "nodes", len(e.Nodes), "rate", each)
	answer(w, e)
}

// rate is how many clients may be asked in a second; if not ok it has answered.
func rate(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	v := r.FormValue("rate")
	if v == "" {
		return DefaultRate, true
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > MaxRate {
		fail(w, http.StatusBadRequest, fmt.Sprintf("rate: want a number of clients in a second from 1 to %d", MaxRate))
		return 0, false
	}
	return n, true
}
