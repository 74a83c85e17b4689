package jwt

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
)

// office is an Authenticator in a bubble whose keys come from a server that the test is.
type office struct {
	*Authenticator
	remote *Remote
	log    bytes.Buffer // to be read when nothing runs
	end    func()

	mu    sync.Mutex
	keys  []byte        // what the server has; nil: it does not answer
	slow  time.Duration // until it answers
	asked int
}

func newOffice(t *testing.T, keys []byte, slow time.Duration) *office {
	o := &office{keys: keys, slow: slow}
	o.remote = NewRemote(Server{URL: "https://login.example.com/keys", Refresh: 10 * time.Minute, Keep: time.Hour}, slog.New(slog.NewTextHandler(&o.log, nil)))
	o.remote.get = func(context.Context, string) ([]byte, error) {
		o.mu.Lock()
		o.asked++
		keys, slow := o.keys, o.slow
		o.mu.Unlock()
		time.Sleep(slow)
		if keys == nil {
			return nil, errors.New("nobody answers")
		}
		return keys, nil
	}
	o.Authenticator = New(Claims{User: "sub"}, nil, o.remote)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { o.remote.Watch(ctx); close(watched) }()
	o.end = func() { cancel(); <-watched; o.Close() }
	return o
}

// has says what the server has from now on.
func (o *office) has(keys []byte, slow time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys, o.slow = keys, slow
}

// fetches is how often the server was asked.
func (o *office) fetches() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

// tell shows a token and waits for the answer.
func (o *office) tell(token string) error {
	_, err := ask(o, "", token)
	return err
}

func public(kind, id string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: one(kind).public, KeyID: id}
}

// far is a token's end beyond what bubbles live for: their time begins in 2000.
var far = object{"exp": 1_900_000_000}

// Who has a token of a new key is let in with it: the keys are fetched for him, and for all
// who come meanwhile once. Who makes keys up has them fetched seldom, and disturbs nobody.
func TestNewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, set(public("P-256", "old")), 0)
		defer o.end()
		was := sign(t, jose.ES256, one("P-256").private, "old", claims(far))
		next := sign(t, jose.EdDSA, one("Ed25519").private, "new", claims(far))
		invented := sign(t, jose.EdDSA, one("Ed25519").private, "invented", claims(far))
		if err := o.tell(was); err != nil { // it waits for the first fetch
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		o.has(set(public("P-256", "old"), public("Ed25519", "new")), time.Second)
		answers := make(chan error, 100)
		for range cap(answers) {
			go func() { answers <- o.tell(next) }()
		}
		synctest.Wait()
		if err := o.tell(was); err != nil || len(answers) > 0 {
			t.Errorf("while keys are fetched: %v, %d answered", err, len(answers))
		}
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		before := o.fetches()
		if before != 2 {
			t.Errorf("asked %d times", before)
		}
		for range 1000 { // in 100 seconds
			if err := o.tell(invented); !errors.Is(err, auth.ErrBadCredentials) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := o.fetches() - before; n < 2 || n > 20 {
			t.Errorf("asked %d times for keys that nobody has", n)
		}
		// What the server has taken back is good for nothing after the next fetch.
		o.has(set(public("Ed25519", "new")), 0)
		time.Sleep(11 * time.Minute)
		if err := o.tell(was); !errors.Is(err, auth.ErrBadCredentials) {
			t.Errorf("a key that was taken back: %v", err)
		}
	})
}

// While the server does not answer its keys are good for a while, and no longer; what is
// wrong changes nothing; the log says each once.
func TestServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil, 0)
		defer o.end()
		token := sign(t, jose.ES256, one("P-256").private, "k", claims(far))
		if err := o.tell(token); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("without keys: %v", err)
		}
		good := set(public("P-256", "k"))
		o.has(good, 0)
		time.Sleep(time.Minute) // it is tried again before long
		if err := o.tell(token); err != nil {
			t.Fatal(err)
		}
		for what, wrong := range map[string][]byte{"away": nil, "an error's page": []byte("<html>"), "empty": set()} {
			o.has(wrong, 0)
			time.Sleep(30 * time.Minute)
			if err := o.tell(token); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			o.has(good, 0)
			time.Sleep(11 * time.Minute)
		}
		o.has(nil, 0)
		time.Sleep(61 * time.Minute)
		if err := o.tell(token); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("after the time that they are kept: %v", err)
		}
		o.has(good, 0)
		o.remote.Refresh()
		synctest.Wait()
		if err := o.tell(token); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := strings.Count(o.log.String(), "level=ERROR"); n != 5 {
			t.Errorf("%d errors told of five times: %s", n, o.log.String())
		}
		if s := o.remote.Stats(); s.Failed.Load() < 5 || s.Fetched.Load() < 5 || int(s.Failed.Load()+s.Fetched.Load()) != o.fetches() {
			t.Errorf("%d fetched, %d failed, asked %d times", s.Fetched.Load(), s.Failed.Load(), o.fetches())
		}
	})
}

// No more wait for a fetch than there is room for, and all of them are answered, at the
// end too.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, set(public("P-256", "k")), time.Minute)
		invented := sign(t, jose.ES256, one("P-256").private, "x", claims(far))
		const crowd = maxAwaiting + 50
		give := make(chan error, crowd)
		for range crowd {
			c := &mqtt.Connect{HasPassword: true, Password: []byte(invented)}
			if _, err := o.Authenticate(auth.Request{Connect: c}, func(_ *auth.Principal, err error) { give <- err }); !errors.Is(err, auth.ErrLater) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := len(give); n != crowd-maxAwaiting {
			t.Errorf("%d answered at once", n)
		}
		o.end()
		for range crowd {
			if err := <-give; !errors.Is(err, auth.ErrUnavailable) && !errors.Is(err, auth.ErrBusy) {
				t.Error(err)
			}
		}
		if _, err := ask(o, "", invented); !errors.Is(err, auth.ErrBusy) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestCheckURL(t *testing.T) {
	for url, good := range map[string]bool{
		"https://login.example.com/keys": true, "https://login.example.com": true, "http://127.0.0.1:8080/k": true, "http://localhost/k": true,
		"http://[::1]:80/k": true, "https://10.0.0.1/k?x=1": true,
		"http://login.example.com/keys": false, "http://10.0.0.1/k": false, "http://localhost.example.com/k": false, "http://127.0.0.1.example.com/": false,
		"ftp://127.0.0.1/k": false, "file:///etc/passwd": false, "https://u:p@login.example.com/": false, "https://a/#b": false, "https:a": false,
		"": false, "login.example.com/keys": false, "http://0.0.0.0/": false, ":": false,
	} {
		if err := CheckURL(url); (err == nil) != good {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// What an HTTP server may answer, and what of that is taken.
func TestFetch(t *testing.T) {
	good := set(public("P-256", "k"))
	var plain *httptest.Server
	pages := http.NewServeMux()
	pages.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(good) })
	pages.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) })
	pages.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	pages.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://login.example.com/keys", http.StatusFound)
	})
	pages.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL+"/keys", http.StatusFound) })
	pages.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write(good) })
	pages.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(good)
		w.Write(bytes.Repeat([]byte(" "), maxSetBytes))
	})
	pages.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	config := func(issuer, keys string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			scheme := "http"
			if r.TLS != nil {
				scheme = "https"
			}
			base := scheme + "://" + r.Host
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": strings.ReplaceAll(issuer, "BASE", base), "jwks_uri": strings.ReplaceAll(keys, "BASE", base), "token_endpoint": base + "/token",
			})
		}
	}
	const well = "/.well-known/openid-configuration"
	pages.HandleFunc("/realm"+well, config("BASE/realm", "BASE/keys"))
	pages.HandleFunc("/slash/"+well[1:], config("BASE/slash/", "BASE/keys"))
	pages.HandleFunc("/other"+well, config("https://login.example.com/other", "BASE/keys"))
	pages.HandleFunc("/leak"+well, config("BASE/leak", "http://login.example.com/keys"))
	pages.HandleFunc("/none"+well, config("BASE/none", ""))
	plain = httptest.NewServer(pages)
	defer plain.Close()
	secure := httptest.NewTLSServer(pages)
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))

	for _, c := range []struct {
		name   string
		server Server
		want   string // of the error; "": keys
	}{
		{"plain", Server{URL: plain.URL + "/keys"}, ""},
		{"TLS", Server{URL: secure.URL + "/keys", CA: ca}, ""},
		{"a stranger's certificate", Server{URL: secure.URL + "/keys"}, "certificate"},
		{"no authorities", Server{URL: secure.URL + "/keys", CA: ca + "x"}, "no such file"},
		{"moved", Server{URL: plain.URL + "/moved"}, ""},
		{"round and round", Server{URL: plain.URL + "/round"}, "too often"},
		{"moved in the clear", Server{URL: plain.URL + "/away"}, "want https"},
		{"moved out of TLS", Server{URL: secure.URL + "/down", CA: ca}, "away from https"},
		{"an error", Server{URL: plain.URL + "/error"}, "status 500"},
		{"nothing there", Server{URL: plain.URL + "/nothing"}, "status 404"},
		{"large", Server{URL: plain.URL + "/large"}, "more than"},
		{"a page for people", Server{URL: plain.URL + "/html"}, "not a JSON Web Key Set"},
		{"discovery", Server{URL: plain.URL + "/realm", Discovery: true}, ""},
		{"discovery, TLS", Server{URL: secure.URL + "/realm", Discovery: true, CA: ca}, ""},
		{"discovery, slash", Server{URL: plain.URL + "/slash/", Discovery: true}, ""},
		{"discovery, another issuer", Server{URL: plain.URL + "/other", Discovery: true}, "calls itself"},
		{"discovery, keys in the clear", Server{URL: plain.URL + "/leak", Discovery: true}, "want https"},
		{"discovery, no keys", Server{URL: plain.URL + "/none", Discovery: true}, "jwks_uri"},
		{"discovery, a page for people", Server{URL: plain.URL + "/html", Discovery: true}, "status 404"},
	} {
		r := NewRemote(c.server, slog.New(slog.DiscardHandler))
		ks, err := r.load(t.Context())
		switch {
		case c.want == "" && (err != nil || ks.Len() != 1):
			t.Errorf("%s: %v, %v", c.name, ks, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// One that never answers is given up.
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer stuck.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r := NewRemote(Server{URL: stuck.URL}, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() {
		_, err := r.load(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}
