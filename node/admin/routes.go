package admin

import (
	"embed"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed page openapi.json
var files embed.FS

// access is what a listener's users may do.
type access int

const (
	everything access = iota // the unix socket: the file system has checked them
	guarded                  // loopback: everything, but not for web pages of others
	bearing                  // beyond loopback: what the token of the request is for
	healthOnly               // beyond loopback without TLS: health and metrics
)

// route is one line of the HTTP interface. Open ones are served everywhere, unless the
// operator says otherwise; the others are subject to access.
type route struct {
	method, path string
	open         bool
	handle       http.HandlerFunc
}

func (s *Server) routes() []route {
	metrics := promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return []route{
		{"GET", "/health/live", true, s.live},
		{"GET", "/health/ready", true, s.ready},
		{"GET", "/healthz", true, s.live},
		{"GET", "/status", true, s.ready},
		{"GET", "/metrics", true, metrics.ServeHTTP},

		{"GET", "/api/v1/openapi.json", false, file("openapi.json", "application/json")},
		{"GET", "/api/v1/nodes", false, s.nodes},
		{"GET", "/api/v1/cluster", false, s.cluster},
		{"DELETE", "/api/v1/cluster/nodes/{node}", false, s.removeNode},
		{"POST", "/api/v1/cluster/nodes/{node}/stay", false, s.keepNode},
		{"POST", "/api/v1/cluster/nodes/{node}/drain", false, s.drain},
		{"DELETE", "/api/v1/cluster/nodes/{node}/drain", false, s.undrain},
		{"POST", "/api/v1/cluster/rebalance", false, s.rebalance},
		{"POST", "/api/v1/cluster/connections/rebalance", false, s.evenConnections},
		{"POST", "/api/v1/cluster/groups/{group}/leader", false, s.transfer},
		{"PUT", "/api/v1/cluster/replicas", false, s.replicas},
		{"GET", "/api/v1/clients", false, s.clients},
		{"GET", "/api/v1/clients/{id}", false, s.client},
		{"DELETE", "/api/v1/clients/{id}", false, s.kick},
		{"GET", "/api/v1/users", false, s.users},
		{"PUT", "/api/v1/users/{name}", false, s.putUser},
		{"DELETE", "/api/v1/users/{name}", false, s.removeUser},
		{"GET", "/api/v1/acl", false, s.rules},
		{"PUT", "/api/v1/acl", false, s.setRules},
		{"DELETE", "/api/v1/acl", false, s.removeRules},
		{"GET", "/api/v1/acl/check", false, s.checkRules},
		{"GET", "/api/v1/bans", false, s.bans},
		{"PUT", "/api/v1/bans/{kind}/{value}", false, s.addBan},
		{"DELETE", "/api/v1/bans/{kind}/{value}", false, s.removeBan},
		{"GET", "/api/v1/tokens", false, s.tokens},
		{"POST", "/api/v1/tokens", false, s.createToken},
		{"DELETE", "/api/v1/tokens/{name}", false, s.revokeToken},
		{"GET", "/api/v1/shards", false, s.shards},
		{"GET", "/api/v1/shards/{shard}/sessions", false, s.sessions},
		{"GET", "/api/v1/verify", false, s.verify},
		{"GET", "/api/v1/backup", false, s.contents},
		{"PUT", "/api/v1/backup/settings", false, s.set},
		{"GET", "/api/v1/backup/records", false, s.records},
		{"PUT", "/api/v1/backup/records", false, s.putRecords},
		{"GET", "/api/v1/backup/shards/{shard}", false, s.backUp},
		{"PUT", "/api/v1/backup/shards/{shard}", false, s.restore},
		{"POST", "/api/v1/backup/shards/{shard}/begin", false, s.begin},

		{"GET", "/{$}", false, file("page/index.html", "text/html; charset=utf-8")},
		{"GET", "/page.css", false, file("page/page.css", "text/css; charset=utf-8")},
		{"GET", "/page.js", false, file("page/page.js", "text/javascript; charset=utf-8")},

		{"GET", "/debug/pprof/", false, pprof.Index},
		{"GET", "/debug/pprof/profile", false, pprof.Profile},
		{"GET", "/debug/pprof/symbol", false, pprof.Symbol},
		{"GET", "/debug/pprof/trace", false, pprof.Trace},
	}
}

func (s *Server) handler(may access) http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		h := http.Handler(r.handle)
		if !s.isOpen(r, may) {
			h = s.identified(r, s.restrict(may, r.needs(), h))
		}
		if !uploads[r.key()] {
			h = http.MaxBytesHandler(h, maxBodyBytes)
		}
		mux.Handle(r.key(), h)
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such resource, or not this method; see /api/v1/openapi.json")
	})
	return headers(mux)
}

// headers are what every answer carries: nothing is cached, framed, sniffed or
// fetched from elsewhere.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
			"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

func file(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := files.ReadFile(name)
		if err != nil {
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Write(b)
	}
}
