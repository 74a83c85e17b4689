package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
)

// Options say whom to ask, and how. All are needed but those that say otherwise.
type Options struct {
	URL     string
	TLS     *tls.Config   // of https; nil: the system's authorities
	Header  string        // that has the Secret; with Secret only
	Secret  func() string // of the moment; nil: none is sent
	Timeout time.Duration // from CONNECT to the answer

	Concurrency int // requests at a time, and connections
	Queue       int // clients that wait for one of these

	Remember      time.Duration // how long it counts that a client was let in; 0: not at all
	MaxRemembered int           // clients of whom that is remembered

	Log *slog.Logger
}

// Webhook is an auth.Authenticator. New makes it and Close ends it.
type Webhook struct {
	o      Options
	client http.Client
	line   chan ask
	ended  sync.WaitGroup
	stats  Stats
	known  remembered

	life context.Context // ends with Close
	end  context.CancelFunc

	mu struct {
		sync.Mutex
		closed bool
		failed uint64 // requests since the last answer
	}
}

// Stats count clients by what became of them.
type Stats struct{ Allowed, Denied, Ignored, Failed, Remembered, Busy atomic.Uint64 }

// ask is a client that waits. Everything in it is its own.
type ask struct {
	of    question
	user  string // that the client claims to be, "" for none
	key   digest // for known; zero: it is not to be remembered
	until time.Time
	later func(*auth.Principal, error)
}

// New starts the goroutines that ask.
func New(o Options) *Webhook {
	w := &Webhook{o: o, line: make(chan ask, o.Queue)}
	w.life, w.end = context.WithCancel(context.Background())
	w.known.init(o.MaxRemembered)
	w.client = http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
			TLSClientConfig:     o.TLS,
			TLSHandshakeTimeout: o.Timeout,
			MaxConnsPerHost:     o.Concurrency, MaxIdleConnsPerHost: o.Concurrency,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
			DisableCompression:     true, // what is small may be large
			// No Proxy: passwords go where the configuration says, and nowhere else.
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for range o.Concurrency {
		w.ended.Go(w.run)
	}
	return w
}

// CheckURL says what is wrong with a URL, if anything. plain allows http beyond this
// machine.
func CheckURL(text string, plain bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.Hostname() == "", u.Opaque != "":
		return errors.New("want a URL, such as https://auth.example.com/mqtt")
	case u.User != nil:
		return errors.New("want no user name or password in it: use auth.webhook.secret-file")
	case u.Fragment != "":
		return errors.New("want no fragment in it")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return errors.New("want https, or http on this machine")
	case plain || isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("passwords would cross the network in the clear; want https, a loopback address, " +
		"or auth.webhook.plain-http to say that it is meant")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// CheckHeader says what is wrong with the name of a header, if anything.
func CheckHeader(name string) error {
	if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return errors.New("want the name of an HTTP header, such as Authorization")
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection":
		return errors.New("that header is HTTP's own, want another one")
	}
	return nil
}

// Stats are the counters, which go on counting.
func (w *Webhook) Stats() *Stats { return &w.stats }

// Authenticate implements auth.Authenticator.
func (w *Webhook) Authenticate(r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	a := ask{user: string(r.Connect.Username), until: time.Now().Add(w.o.Timeout), later: later}
	if w.o.Remember > 0 {
		a.key = w.known.digestOf(&r)
		if who, ok := w.known.find(a.key, time.Now()); ok {
			w.stats.Remembered.Add(1)
			return who, nil
		}
	}
	a.of = questionOf(&r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mu.closed {
		select {
		case w.line <- a:
			return nil, auth.ErrLater
		default:
		}
	}
	w.stats.Busy.Add(1)
	return nil, auth.ErrBusy
}

// Close ends what is under way: who waits is told that nobody can say.
func (w *Webhook) Close() {
	w.mu.Lock()
	if !w.mu.closed {
		w.mu.closed = true
		close(w.line)
	}
	w.mu.Unlock()
	w.end()
	w.ended.Wait()
	w.client.CloseIdleConnections()
}

func (w *Webhook) run() {
	for a := range w.line {
		a.later(w.answer(&a))
	}
}

// answer asks the server about a client.
func (w *Webhook) answer(a *ask) (*auth.Principal, error) {
	ctx, cancel := context.WithDeadline(w.life, a.until)
	defer cancel()
	v, err := w.exchange(ctx, &a.of)
	if err == nil {
		err = v.check(a.user, time.Now())
	}
	w.tell(err)
	if err != nil {
		w.stats.Failed.Add(1)
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	switch v.Result {
	case resultDeny:
		w.stats.Denied.Add(1)
		return nil, auth.ErrBadCredentials
	case resultIgnore:
		w.stats.Ignored.Add(1)
		return nil, auth.ErrPass
	}
	w.stats.Allowed.Add(1)
	who := v.principal(a.user)
	if w.o.Remember > 0 {
		until := time.Now().Add(w.o.Remember)
		if v.Expires != nil && v.until().Before(until) {
			until = v.until()
		}
		w.known.add(a.key, who, until)
	}
	return who, nil
}

// tell has the log say when the server fails, and when it answers again; in between there
// may be a failure for each of very many clients.
func (w *Webhook) tell(err error) {
	if w.life.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		if w.mu.failed++; w.mu.failed == 1 {
			w.o.Log.Error("webhook does not say who clients are, they are not let in", "url", w.o.URL, "error", err)
		}
	case w.mu.failed > 0:
		w.o.Log.Info("webhook says who clients are again", "url", w.o.URL, "failed", w.mu.failed)
		w.mu.failed = 0
	}
}

// questionOf copies what a client shows of itself.
func questionOf(r *auth.Request) question {
	c := r.Connect
	q := question{
		ClientID: string(c.ClientID), Address: r.Remote.Addr().Unmap().String(), Port: r.Remote.Port(),
		Listener: r.Listener, Protocol: protocolOf(c.Version),
	}
	if c.HasUsername {
		name := string(c.Username)
		q.Username = &name
	}
	if c.HasPassword {
		q.setPassword(c.Password)
	}
	if r.Certificate != nil {
		q.Certificate = certificateOf(r.Certificate)
	}
	return q
}

func protocolOf(v mqtt.Version) string {
	switch v {
	case mqtt.V31:
		return "3.1"
	case mqtt.V311:
		return "3.1.1"
	}
	return "5.0"
}
