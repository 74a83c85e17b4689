package admin

import (
	"context"
	"encoding/json"
	"net/http"
)

// Users are those of the cluster's store. Calls come from HTTP goroutines. For errors see
// Membership.
type Users interface {
	// Users lists up to limit users by name, beginning after the one named. inUse says
	// whether this node lets them in.
	Users(ctx context.Context, after string, limit int) (page []User, inUse bool, err error)
	// PutUser gives a user other credentials; a new user too, or, with add, only a new one.
	// This node lets the user in when it returns, others a moment later.
	PutUser(ctx context.Context, name string, c Credentials, add bool) (revision uint64, err error)
	// RemoveUser takes a user out of the store, which closes the user's connections.
	RemoveUser(ctx context.Context, name string) error
}

// User is one of the store.
type User struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"` // of the users, when this one was changed last
}

// Credentials is the body of PUT /api/v1/users/{name}: one of them.
type Credentials struct {
	Password string `json:"password,omitempty"`
	Hash     string `json:"hash,omitempty"` // what a file of users has after the name
}

// UserPage answers GET /api/v1/users.
type UserPage struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty"` // "after" of the next page; "" on the last
	InUse bool   `json:"in_use"`         // auth.store is set at the node that answers
}

// UserPut answers PUT /api/v1/users/{name}.
type UserPut struct {
	Revision uint64 `json:"revision"`
	InUse    bool   `json:"in_use"`
}

func (s *Server) users(w http.ResponseWriter, r *http.Request) {
	limit, ok := pageLimit(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	// One more than the page tells whether there is a next one.
	us, inUse, err := s.Users.Users(ctx, r.FormValue("after"), limit+1)
	if err != nil {
		s.refuse(w, err)
		return
	}
	page := UserPage{Users: us, InUse: inUse}
	if len(us) > limit {
		page.Users = us[:limit]
		page.Next = us[limit-1].Name
	}
	if page.Users == nil {
		page.Users = []User{}
	}
	answer(w, page)
}

func (s *Server) putUser(w http.ResponseWriter, r *http.Request) {
	var c Credentials
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if d.Decode(&c) != nil { // whose text may have the password in it
		fail(w, http.StatusBadRequest, `want {"password": "..."} or {"hash": "..."}`)
		return
	}
	add, ok := truth(w, r, "new")
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	name := r.PathValue("name")
	revision, err := s.Users.PutUser(ctx, name, c, add)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("user changed by the API", "user", name, "revision", revision)
	_, inUse, err := s.Users.Users(ctx, "", 0)
	if err != nil {
		s.refuse(w, err)
		return
	}
	answer(w, UserPut{Revision: revision, InUse: inUse})
}

func (s *Server) removeUser(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	name := r.PathValue("name")
	if err := s.Users.RemoveUser(ctx, name); err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("user removed by the API", "user", name)
	w.WriteHeader(http.StatusNoContent)
}
