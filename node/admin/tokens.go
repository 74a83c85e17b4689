package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"dunlin/node/token"
)

// TokenInfo is what there is to be told of a token.
type TokenInfo struct {
	Name    string     `json:"name"`
	Scope   string     `json:"scope"`  // read, operate or admin
	Source  string     `json:"source"` // "cluster", or "file": that of this node
	Created *time.Time `json:"created,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Expired bool       `json:"expired,omitempty"`
}

// TokenList answers GET /api/v1/tokens.
type TokenList struct {
	Tokens []TokenInfo `json:"tokens"`
}

// TokenRequest is the body of POST /api/v1/tokens.
type TokenRequest struct {
	Name    string `json:"name"`
	Scope   string `json:"scope"`
	Seconds int64  `json:"expires_in_seconds,omitempty"` // 0: it does not expire
}

// NewToken answers it. The token is not to be had again.
type NewToken struct {
	TokenInfo
	Token string `json:"token"`
}

// maxTokenLife is how far ahead a token may expire.
const maxTokenLife = 10 * 365 * 24 * time.Hour

// InfoOf shows a token.
func InfoOf(t token.Token, source string, now time.Time) TokenInfo {
	info := TokenInfo{Name: t.Name, Scope: t.Scope.String(), Source: source, Expired: t.Expired(now)}
	for _, x := range []struct {
		seconds int64
		to      **time.Time
	}{{t.Created, &info.Created}, {t.Expires, &info.Expires}} {
		if x.seconds != 0 {
			at := time.Unix(x.seconds, 0).UTC()
			*x.to = &at
		}
	}
	return info
}

func (s *Server) tokens(w http.ResponseWriter, r *http.Request) {
	list := TokenList{Tokens: s.Tokens.List()}
	if list.Tokens == nil {
		list.Tokens = []TokenInfo{}
	}
	answer(w, list)
}

func (s *Server) createToken(w http.ResponseWriter, r *http.Request) {
	var body TokenRequest
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		code, text := http.StatusBadRequest, "want name, scope and expires_in_seconds in JSON"
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			code, text = http.StatusRequestEntityTooLarge, "the body is too long"
		}
		fail(w, code, text)
		return
	}
	callerOf(r).target = "token " + body.Name + ", scope " + body.Scope
	scope, err := token.ParseScope(body.Scope)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if body.Seconds < 0 || body.Seconds > int64(maxTokenLife/time.Second) {
		fail(w, http.StatusBadRequest, "expires_in_seconds: want none, or up to ten years")
		return
	}
	now, expires := time.Now(), time.Time{}
	if body.Seconds > 0 {
		expires = now.Add(time.Duration(body.Seconds) * time.Second)
	}
	secret, t, err := token.New(body.Name, scope, now, expires)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	if err := s.Tokens.Create(ctx, t); err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	answer(w, NewToken{InfoOf(t, "cluster", now), secret})
}

func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	if err := s.Tokens.Revoke(ctx, r.PathValue("name")); err != nil {
		s.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
