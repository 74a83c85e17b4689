package admin

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"dunlin/node/token"
)

// FuzzRequest has strangers ask for anything beyond loopback, without a token (case 54):
// they get the pages that are open, and nothing else is done or told.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		"GET /health/ready", "GET /metrics", "GET /api/v1/clients", "DELETE /api/v1/clients/a", "PUT /api/v1/cluster/replicas?factor=3",
		"GET //api/v1/nodes", "GET /health/../api/v1/nodes", "GET /%2e%2e/api/v1/nodes", "GET http://other/api/v1/nodes", "HEAD /debug/pprof/heap",
		"CONNECT /api/v1/nodes", "POST /api/v1/restore/0", "OPTIONS *",
	} {
		f.Add(line + " HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\n\r\n{}")
	}
	f.Add("GET /api/v1/nodes HTTP/1.0\r\nAuthorization: Bearer \r\nAuthorization: Basic x\r\nX-HTTP-Method-Override: PUT\r\nOrigin: null\r\n\r\n")
	open := []string{"/", "/health/live", "/health/ready", "/healthz", "/status", "/metrics"}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		x := newFixture("a", "b")
		withTokens(t, x)
		defer x.Audit.Close()
		x.failures = token.Failures{}
		w := httptest.NewRecorder()
		x.handler(bearing).ServeHTTP(w, r)
		page := r.URL.Path
		served := w.Code/100 == 2
		for _, p := range open {
			served = served && page != p
		}
		if served && !strings.HasPrefix(page, "/page.") || w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s %q: %d %.100q", r.Method, page, w.Code, w.Body)
		}
		if len(x.clients.all) != 2 || !reflect.DeepEqual(*x.backups, fakeBackups{}) {
			t.Errorf("%s %q: something was done", r.Method, page)
		}
	})
}
