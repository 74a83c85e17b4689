package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// Rules say who may publish and subscribe to what: this node's file first, then the rules
// of the cluster. Calls come from HTTP goroutines. For errors see Membership.
type Rules interface {
	// Rules are those of the cluster.
	Rules(ctx context.Context) (RuleSet, error)
	// SetRules replaces them by those of a text, as acl.file has it, and returns when this
	// node has them.
	SetRules(ctx context.Context, text string) (RuleSet, error)
	RemoveRules(ctx context.Context) error
	// CheckRules says what this node would answer, and by which rule.
	CheckRules(Question) (Verdict, error)
}

// RuleSet answers GET and PUT /api/v1/acl.
type RuleSet struct {
	Text      string `json:"text"`     // "": there are none
	Revision  uint64 `json:"revision"` // rises with each change
	Rules     int    `json:"rules"`
	FileRules int    `json:"file_rules"` // of acl.file at the node that answers, which come first
}

// Action is what a client would do.
type Action string

// What may be asked for.
const (
	Publish   Action = "publish"
	Subscribe Action = "subscribe"
)

// Question is what GET /api/v1/acl/check asks: may this client do that?
type Question struct {
	Client, User string
	Certified    bool // the user's name is proved by a certificate
	Action       Action
	Topic        string // or filter
	QoS          uint8
	Retain       bool
}

// Verdict answers it.
type Verdict struct {
	Allowed bool   `json:"allowed"`
	By      By     `json:"by"`
	Rule    int    `json:"rule,omitempty"` // its place, from 1 on, in the file or among those of the cluster
	Text    string `json:"text,omitempty"` // the rule
}

// By is what has decided.
type By string

// What may decide.
const (
	ByFile        By = "file"         // a rule of acl.file
	ByStore       By = "cluster"      // a rule of the cluster
	ByDefault     By = "default"      // no rule speaks of it
	ByDenyFilters By = "deny-filters" // acl.deny-filters
	ByReserved    By = "reserved"     // nobody may publish to topics that begin with $
)

// maxRulesBytes bounds the rules of a cluster.
const maxRulesBytes = 256 << 10

func (s *Server) rules(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	set, err := s.Rules.Rules(ctx)
	if err != nil {
		s.refuse(w, err)
		return
	}
	answer(w, set)
}

func (s *Server) setRules(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(bounded(w, r, maxRulesBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, "want rules of at most "+strconv.Itoa(maxRulesBytes)+" bytes")
		return
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	set, err := s.Rules.SetRules(ctx, string(text))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("rules of the cluster changed by the API", "rules", set.Rules, "revision", set.Revision)
	answer(w, set)
}

func (s *Server) removeRules(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	if err := s.Rules.RemoveRules(ctx); err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("rules of the cluster removed by the API")
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) checkRules(w http.ResponseWriter, r *http.Request) {
	q := Question{
		Client: r.FormValue("client"), User: r.FormValue("user"),
		Action: Action(r.FormValue("action")), Topic: r.FormValue("topic"),
	}
	if q.Action != Publish && q.Action != Subscribe {
		fail(w, http.StatusBadRequest, "action: want publish or subscribe")
		return
	}
	if v := r.FormValue("qos"); v != "" {
		qos, err := strconv.Atoi(v)
		if err != nil || qos < 0 || qos > 2 {
			fail(w, http.StatusBadRequest, "qos: want 0, 1 or 2")
			return
		}
		q.QoS = uint8(qos)
	}
	var ok bool
	if q.Retain, ok = truth(w, r, "retain"); !ok {
		return
	}
	if q.Certified, ok = truth(w, r, "certificate"); !ok {
		return
	}
	v, err := s.Rules.CheckRules(q)
	if err != nil {
		s.refuse(w, err)
		return
	}
	answer(w, v)
}
