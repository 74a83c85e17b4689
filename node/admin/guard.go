package admin

import (
	"net"
	"net/http"

	"dunlin/node/config"
)

// restrict lets through what a listener's users may ask for (case 54).
func restrict(may access, next http.Handler) http.Handler {
	switch may {
	case everything:
		return next
	case healthOnly:
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fail(w, http.StatusForbidden, "this address serves /health and /metrics only, for it is not a loopback address "+
				"and this version has no tokens; use the node's admin.sock, as dunlin clients does")
		})
	}
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusForbidden, "this request comes from a page of another origin")
	}))
	next = sameOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			fail(w, http.StatusForbidden, "the Host of the request is not a loopback address")
			return
		}
		next.ServeHTTP(w, r)
	})
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
