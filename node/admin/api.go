package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Pages of clients.
const (
	defaultPage = 100
	maxPage     = 1000
)

// askTimeout bounds what a request waits for the broker.
const askTimeout = 10 * time.Second

func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	w.Write([]byte("ok\n"))
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.Cluster.Ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ready\n"))
}

func (s *Server) nodes(w http.ResponseWriter, r *http.Request) {
	answer(w, NodeList{Version: s.Version, Nodes: s.Cluster.Nodes()})
}

// NodeList answers GET /api/v1/nodes.
type NodeList struct {
	Version string `json:"version"` // of the node that answers
	Nodes   []Node `json:"nodes"`
}

// ClientPage answers GET /api/v1/clients.
type ClientPage struct {
	Clients []Client `json:"clients"`
	Next    string   `json:"next,omitempty"` // "after" of the next page; "" on the last
}

func (s *Server) clients(w http.ResponseWriter, r *http.Request) {
	limit, ok := pageLimit(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	// One more than the page tells whether there is a next one.
	cs, err := s.Clients.List(ctx, r.FormValue("after"), limit+1)
	if err != nil {
		s.unavailable(w, err)
		return
	}
	page := ClientPage{Clients: cs}
	if len(cs) > limit {
		page.Clients = cs[:limit]
		page.Next = cs[limit-1].ClientID
	}
	if page.Clients == nil {
		page.Clients = []Client{}
	}
	answer(w, page)
}

// pageLimit is how many of something are asked for; if not ok it has answered.
func pageLimit(w http.ResponseWriter, r *http.Request) (limit int, ok bool) {
	v := r.FormValue("limit")
	if v == "" {
		return defaultPage, true
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxPage {
		fail(w, http.StatusBadRequest, "limit: want a number from 1 to "+strconv.Itoa(maxPage))
		return 0, false
	}
	return n, true
}

// truth is whether something is asked for; if not ok it has answered.
func truth(w http.ResponseWriter, r *http.Request, name string) (v, ok bool) {
	switch r.FormValue(name) {
	case "", "false":
		return false, true
	case "true":
		return true, true
	}
	fail(w, http.StatusBadRequest, name+": want true or false")
	return false, false
}

func (s *Server) client(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	switch c, found, err := s.Clients.Get(ctx, r.PathValue("id")); {
	case err != nil:
		s.unavailable(w, err)
	case !found:
		fail(w, http.StatusNotFound, "no such client is connected to this node")
	default:
		answer(w, c)
	}
}

func (s *Server) kick(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	switch found, err := s.Clients.Kick(ctx, r.PathValue("id")); {
	case err != nil:
		s.unavailable(w, err)
	case !found:
		fail(w, http.StatusNotFound, "no such client is connected to this node")
	default:
		s.Log.Info("client kicked by the API", "client", r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	}
}

// refuse is the one place where errors of the node become HTTP codes.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	var no *Refusal
	switch {
	case errors.As(err, &no):
		fail(w, no.Code, no.Error())
	case errors.Is(err, ErrRefused):
		fail(w, http.StatusConflict, err.Error())
	case errors.Is(err, ErrUnknown):
		fail(w, http.StatusInternalServerError, err.Error())
	default:
		s.unavailable(w, err)
	}
}

// unavailable answers when the node cannot say or do it now.
func (s *Server) unavailable(w http.ResponseWriter, err error) {
	if errors.Is(err, context.Canceled) {
		return // the requester has gone
	}
	fail(w, http.StatusServiceUnavailable, err.Error())
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v) // fails only when the requester has gone
}

// Failure is the body of every answer of the API that is not 2xx.
type Failure struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(Failure{text})
}
