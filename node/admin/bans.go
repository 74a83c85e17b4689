package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Bans keep clients out of the whole cluster. Calls come from HTTP goroutines. For errors
// see Membership.
type Bans interface {
	// Bans lists those in force, by kind and value.
	Bans() ([]Ban, error)
	// AddBan has one hold from now on, in place of a former one of the same, and closes
	// the connections of whom it names: at this node when it returns, elsewhere a moment
	// later. It holds for good if its time is 0.
	AddBan(ctx context.Context, b Ban, hold time.Duration) (Ban, error)
	// RemoveBan ends one.
	RemoveBan(ctx context.Context, kind, value string) error
}

// Ban is one ban.
type Ban struct {
	Kind    string     `json:"kind"`  // client, user or address
	Value   string     `json:"value"` // the client identifier, the user's name, the address or network
	Reason  string     `json:"reason,omitempty"`
	Created time.Time  `json:"created"`
	Until   *time.Time `json:"until,omitempty"` // by the clock of each node; none: for good
}

// BanOrder is the body of PUT /api/v1/bans/{kind}/{value}.
type BanOrder struct {
	Reason  string `json:"reason,omitempty"`
	Seconds uint32 `json:"seconds,omitempty"` // 0: for good
}

// BanList answers GET /api/v1/bans.
type BanList struct {
	Bans []Ban `json:"bans"`
}

func (s *Server) bans(w http.ResponseWriter, _ *http.Request) {
	list, err := s.Bans.Bans()
	if err != nil {
		s.refuse(w, err)
		return
	}
	if list == nil {
		list = []Ban{}
	}
	answer(w, BanList{Bans: list})
}

func (s *Server) addBan(w http.ResponseWriter, r *http.Request) {
	var o BanOrder
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		fail(w, http.StatusBadRequest, `want {"reason": "...", "seconds": 3600}: `+err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	b, err := s.Bans.AddBan(ctx, Ban{Kind: r.PathValue("kind"), Value: r.PathValue("value"), Reason: o.Reason}, time.Duration(o.Seconds)*time.Second)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("ban added by the API", "kind", b.Kind, "value", b.Value, "reason", b.Reason, "seconds", o.Seconds)
	answer(w, b)
}

func (s *Server) removeBan(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	kind, value := r.PathValue("kind"), r.PathValue("value")
	if err := s.Bans.RemoveBan(ctx, kind, value); err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("ban removed by the API", "kind", kind, "value", value)
	w.WriteHeader(http.StatusNoContent)
}
