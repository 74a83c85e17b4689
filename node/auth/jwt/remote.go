package jwt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

const (
	fetchTimeout = 5 * time.Second
	fetchPause   = 10 * time.Second // between two fetches that tokens or failures ask for
	fetchBurst   = 3                // that tokens may ask for at once
	maxRedirects = 3
	maxAwaiting  = 1024 // tokens that wait for a fetch
)

// Server says where keys are fetched.
type Server struct {
	URL       string // of a JSON Web Key Set; or, with Discovery, of the issuer
	Discovery bool   // the issuer says where its keys are (OpenID Connect Discovery 1.0)
	CA        string // PEM file of the authorities that its certificate may be signed by; "": the system's

	Refresh time.Duration // how often they are fetched
	Keep    time.Duration // for how long the last are good when no fetch succeeds
}

// CheckURL says why keys must not be fetched from there: what is not this machine's is
// asked for by TLS.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return errors.New("want a URL such as https://login.example.com/keys")
	case u.User != nil:
		return errors.New("want a URL without a user name")
	case u.Fragment != "":
		return errors.New("want a URL without a fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("want https, or http to a loopback address")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Remote is the keys of a server, as it had them last. While the server does not answer
// they are good for a bounded time: then it may have taken one back long ago.
type Remote struct {
	server Server
	log    *slog.Logger
	get    func(ctx context.Context, url string) ([]byte, error)
	latest atomic.Pointer[fetched]
	wake   chan struct{}
	stats  RemoteStats
	failed bool // the last fetch did; of Watch alone

	mu struct {
		sync.Mutex
		due  bool      // a fetch is under way, or begins next
		next time.Time // when tokens may ask for one, but for a burst
		wait []func()  // for it to end
		over bool
	}
}

// RemoteStats count fetches.
type RemoteStats struct{ Fetched, Failed atomic.Uint64 }

type fetched struct {
	keys *Keys
	at   time.Time
}

// NewRemote makes a Remote, which has no keys yet; Watch is to follow.
func NewRemote(s Server, log *slog.Logger) *Remote {
	r := &Remote{server: s, log: log, wake: make(chan struct{}, 1)}
	r.get = r.getHTTP
	r.mu.due = true
	return r
}

// Stats are the counters, which go on counting.
func (r *Remote) Stats() *RemoteStats { return &r.stats }

// Keys are those that are good now, nil if there are none.
func (r *Remote) Keys() *Keys {
	if f := r.latest.Load(); f != nil && time.Since(f.at) <= r.server.Keep {
		return f.keys
	}
	return nil
}

// Age is for how long the keys have been those in use.
func (r *Remote) Age() time.Duration {
	if f := r.latest.Load(); f != nil {
		return time.Since(f.at)
	}
	return 0
}

// Refresh has Watch fetch the keys at once.
func (r *Remote) Refresh() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Watch fetches the keys, and again every so often, until ctx ends.
func (r *Remote) Watch(ctx context.Context) {
	defer r.release(true)
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := fetchPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
		r.begin()
		if r.fetch(ctx) {
			pause = fetchPause
			timer.Reset(r.server.Refresh)
		} else {
			pause = min(pause, r.server.Refresh)
			timer.Reset(pause)
			pause *= 2
		}
		r.release(false)
	}
}

// await has f called when the keys have been fetched. False: that is not to be, since it
// was done often enough lately, or too many wait for it.
func (r *Remote) await(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.over || len(r.mu.wait) == maxAwaiting {
		return false
	}
	if !r.mu.due {
		now := time.Now()
		if r.mu.next.After(now) {
			return false
		}
		if first := now.Add(-(fetchBurst - 1) * fetchPause); r.mu.next.Before(first) {
			r.mu.next = first
		}
		r.mu.next = r.mu.next.Add(fetchPause)
		r.mu.due = true
		r.Refresh()
	}
	r.mu.wait = append(r.mu.wait, f)
	return true
}

func (r *Remote) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.due = true
	select {
	case <-r.wake: // it is what begins
	default:
	}
}

// release calls those that wait.
func (r *Remote) release(over bool) {
	r.mu.Lock()
	wait := r.mu.wait
	r.mu.wait, r.mu.due, r.mu.over = nil, false, over
	r.mu.Unlock()
	for _, f := range wait {
		f()
	}
}

// fetch takes over what the server has. An error is told once, until it is over.
func (r *Remote) fetch(ctx context.Context) bool {
	keys, err := r.load(ctx)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		r.stats.Failed.Add(1)
		if !r.failed {
			r.log.Error("token keys not fetched, the former ones are kept for a while", "keep", r.server.Keep, "error", err)
		}
		r.failed = true
		return false
	}
	if r.failed || r.latest.Load() == nil {
		r.log.Info("token keys fetched", "keys", keys.Len())
	}
	r.failed = false
	r.stats.Fetched.Add(1)
	r.latest.Store(&fetched{keys, time.Now()})
	return true
}

func (r *Remote) load(ctx context.Context) (*Keys, error) {
	from := r.server.URL
	if r.server.Discovery {
		var err error
		if from, err = r.discover(ctx); err != nil {
			return nil, err
		}
	}
	b, err := r.get(ctx, from)
	if err != nil {
		return nil, err
	}
	keys, err := parseSet(b, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return keys, nil
}

// discover asks the issuer where its keys are.
func (r *Remote) discover(ctx context.Context) (string, error) {
	at := strings.TrimSuffix(r.server.URL, "/") + "/.well-known/openid-configuration"
	b, err := r.get(ctx, at)
	if err != nil {
		return "", err
	}
	var said struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(b, &said); err != nil {
		return "", fmt.Errorf("%s: not a JSON object", at)
	}
	if said.Issuer != r.server.URL { // it has to be the same [OpenID Connect Discovery 1.0, 4.3]
		return "", fmt.Errorf("%s: the issuer there calls itself %.200q", at, said.Issuer)
	}
	if err := CheckURL(said.Keys); err != nil {
		return "", fmt.Errorf("%s: jwks_uri: %.200q is not allowed: %w", at, said.Keys, err)
	}
	return said.Keys, nil
}

// getHTTP fetches a page. The file of authorities is read each time, so that it may change.
func (r *Remote) getHTTP(ctx context.Context, from string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	trusted, err := r.authorities()
	if err != nil {
		return nil, err
	}
	client := http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted},
		},
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("redirected too often")
			}
			if via[0].URL.Scheme == "https" && to.URL.Scheme != "https" {
				return errors.New("redirected away from https")
			}
			return CheckURL(to.URL.String())
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", from, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxSetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if len(b) > maxSetBytes {
		return nil, fmt.Errorf("%s: more than %d bytes", from, maxSetBytes)
	}
	return b, nil
}

func (r *Remote) authorities() (*x509.CertPool, error) {
	if r.server.CA == "" {
		return nil, nil
	}
	f, err := os.Open(r.server.CA)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadAuthorities(f)
}

// ReadAuthorities reads PEM certificates of authorities.
func ReadAuthorities(from io.Reader) (*x509.CertPool, error) {
	b, err := readAll(from)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("no PEM certificates in it")
	}
	return pool, nil
}
