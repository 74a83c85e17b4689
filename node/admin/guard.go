package admin

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dunlin/node/audit"
	"dunlin/node/config"
	"dunlin/node/token"
)

// Tokens are those that requests may bear. Calls come from HTTP goroutines.
type Tokens interface {
	// Find says which one a secret is. An expired one is none.
	Find(secret string) (token.Token, bool)
	// List lists all, by name.
	List() []TokenInfo
	// Create adds one, and Revoke takes one away: for errors see Membership.
	Create(ctx context.Context, t token.Token) error
	Revoke(ctx context.Context, name string) error
}

// needs are the scopes of routes for which the rule does not hold that GET needs Read and
// everything else Admin. 0 is none.
var needs = map[string]token.Scope{
	"GET /{$}": 0, "GET /page.css": 0, "GET /page.js": 0, // the page asks for a token

	"DELETE /api/v1/clients/{id}":                token.Operate,
	"PUT /api/v1/bans/{kind}/{value}":            token.Operate,
	"DELETE /api/v1/bans/{kind}/{value}":         token.Operate,
	"POST /api/v1/cluster/nodes/{node}/drain":    token.Operate,
	"DELETE /api/v1/cluster/nodes/{node}/drain":  token.Operate,
	"POST /api/v1/cluster/rebalance":             token.Operate,
	"POST /api/v1/cluster/connections/rebalance": token.Operate,
	"POST /api/v1/cluster/groups/{group}/leader": token.Operate,
	"GET /api/v1/verify":                         token.Operate, // asks every node for everything
}

// guardedPaths is where GET needs Admin too: all that clients have said, who may do what, what
// is in memory and how long things take.
var guardedPaths = []string{"/api/v1/backup", "/api/v1/tokens", "/api/v1/users", "/api/v1/acl", "/debug/"}

func (r route) key() string { return r.method + " " + r.path }

// needs is the scope that a token must have.
func (r route) needs() token.Scope {
	if need, ok := needs[r.key()]; ok {
		return need
	}
	secret := slices.ContainsFunc(guardedPaths, func(p string) bool { return strings.HasPrefix(r.path, p) })
	if r.method == http.MethodGet && !secret {
		return token.Read
	}
	return token.Admin
}

// changes says whether a request is to be found in the audit log: what changes something,
// and what gives away all there is.
func (r route) changes() bool {
	return r.method != http.MethodGet || strings.HasPrefix(r.path, "/api/v1/backup")
}

// isOpen says whether a route is served to everybody who reaches a listener.
func (s *Server) isOpen(r route, may access) bool {
	switch {
	case !r.open:
		return may == bearing && r.needs() == 0
	case may == everything, may == guarded:
		return true
	case r.path == "/metrics":
		return !s.MetricsNeedToken
	}
	return !s.HealthNeedsToken
}

// caller is who asks, as far as it is known yet.
type caller struct {
	who        string
	turnedAway bool   // and that is written down already
	target     string // what the request is about, if its path does not say
}

type callerKey struct{}

func callerOf(r *http.Request) *caller {
	if c, ok := r.Context().Value(callerKey{}).(*caller); ok {
		return c
	}
	return new(caller)
}

// identified has the guard note who asks, and a change be written down.
func (s *Server) identified(rt route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := new(caller)
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
		if !rt.changes() {
			next.ServeHTTP(w, r)
			return
		}
		noting := &noter{ResponseWriter: w}
		whole := false
		defer func() {
			if c.turnedAway {
				return
			}
			e := audit.Event{What: rt.key(), Who: c.who, From: r.RemoteAddr, Target: r.URL.Path, Result: audit.Done}
			if c.target != "" {
				e.Target = c.target
			}
			switch {
			case !whole:
				e.Result, e.Why = audit.Failed, "broken off"
			case noting.code >= 500:
				e.Result, e.Why = audit.Failed, strconv.Itoa(noting.code)
			case noting.code >= 400:
				e.Result, e.Why = audit.Refused, strconv.Itoa(noting.code)
			}
			s.Audit.Did(e)
		}()
		next.ServeHTTP(noting, r)
		whole = true
	})
}

// noter notes the code of an answer.
type noter struct {
	http.ResponseWriter
	code int
}

func (n *noter) WriteHeader(code int) {
	if n.code == 0 {
		n.code = code
	}
	n.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (n *noter) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// bounded is the body of a request, of which no more than most bytes are read. What is longer
// ends the connection in good order, which net/http does for its own ResponseWriter alone.
func bounded(w http.ResponseWriter, r *http.Request, most int64) io.ReadCloser {
	if n, ok := w.(*noter); ok {
		w = n.ResponseWriter
	}
	return http.MaxBytesReader(w, r.Body, most)
}

// restrict lets through what a listener's users may ask for (case 54).
func (s *Server) restrict(may access, need token.Scope, next http.Handler) http.Handler {
	switch may {
	case everything:
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			callerOf(r).who = socketUser(r.Context())
			next.ServeHTTP(w, r)
		})
	case healthOnly:
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.turnAway(w, r, http.StatusForbidden, "this address serves /health and /metrics only, for it is not a loopback address "+
				"and speaks no TLS: set http.tls-cert and http.tls-key, and bear a token, or use the node's admin.sock")
		})
	case bearing:
		next = s.withToken(need, next)
	case guarded:
		next = s.onLoopback(need, next)
	}
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.turnAway(w, r, http.StatusForbidden, "this request comes from a page of another origin")
	}))
	return sameOrigin.Handler(next)
}

// onLoopback lets through who names this machine. Who bears a token has to have a good one
// here too.
func (s *Server) onLoopback(need token.Scope, next http.Handler) http.Handler {
	borne := s.withToken(need, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !loopbackHost(r.Host):
			s.turnAway(w, r, http.StatusForbidden, "the Host of the request is not a loopback address")
		case r.Header.Get("Authorization") != "" && s.Tokens != nil:
			borne.ServeHTTP(w, r)
		default:
			callerOf(r).who = "loopback"
			next.ServeHTTP(w, r)
		}
	})
}

// withToken lets through who bears a token of enough scope. There are no cookies, so that a
// page of others has nothing to use.
func (s *Server) withToken(need token.Scope, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, now := addressOf(r), time.Now()
		if wait := s.failures.Blocked(from, now); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			s.turnAway(w, r, http.StatusTooManyRequests, "too many wrong tokens came from this address")
			return
		}
		secret, ok := bearer(r)
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="dunlin"`)
			s.turnAway(w, r, http.StatusUnauthorized, "want a token: Authorization: Bearer ..., as dunlin token create makes one")
			return
		}
		var t token.Token
		if ok = s.Tokens != nil; ok {
			t, ok = s.Tokens.Find(secret)
		}
		if !ok {
			s.failures.Failed(from, now)
			w.Header().Set("WWW-Authenticate", `Bearer realm="dunlin", error="invalid_token"`)
			s.turnAway(w, r, http.StatusUnauthorized, "this token is unknown, revoked or expired")
			return
		}
		callerOf(r).who = "token " + t.Name
		if !t.Scope.Includes(need) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="dunlin", error="insufficient_scope"`)
			s.turnAway(w, r, http.StatusForbidden, fmt.Sprintf("this needs a token of scope %v, and %s has %v", need, t.Name, t.Scope))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxBearer is how long a token may be that is looked at.
const maxBearer = 512

// bearer is the token of a request, if it has one.
func bearer(r *http.Request) (string, bool) {
	h := r.Header.Values("Authorization")
	if len(h) != 1 || len(h[0]) > maxBearer {
		return "", false
	}
	scheme, secret, ok := strings.Cut(h[0], " ")
	return secret, ok && strings.EqualFold(scheme, "Bearer") && secret != ""
}

// turnAway answers who may not, and writes it down.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, code int, why string) {
	c := callerOf(r)
	c.turnedAway = true
	s.Audit.Refused(audit.Request, func() audit.Event {
		return audit.Event{Who: c.who, From: r.RemoteAddr, Target: r.Method + " " + r.URL.Path, Why: strconv.Itoa(code) + " " + why}
	})
	fail(w, code, why)
}

// addressOf is where a request comes from.
func addressOf(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero Addr of what is none
	return at.Addr()
}

// loopbackHost says whether a Host header names this machine by a name that no
// DNS server can point elsewhere.
func loopbackHost(host string) bool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(trimBrackets(host), "80")
	}
	return config.IsLoopback(host)
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
