package webhook

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

// outcome is what a client is told.
type outcome struct {
	who *auth.Principal
	err error
}

// bench is a Webhook and the server that it asks.
type bench struct {
	*Webhook
	t   *testing.T
	log *lockedBuffer
}

func start(t *testing.T, serve http.HandlerFunc, change ...func(*Options)) bench {
	t.Helper()
	s := httptest.NewServer(serve)
	t.Cleanup(s.Close)
	log := new(lockedBuffer)
	o := Options{
		URL: s.URL, Timeout: time.Minute, Concurrency: 4, Queue: 100, MaxRemembered: 100,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	w := New(o)
	t.Cleanup(w.Close) // before the server's, which waits for its connections
	return bench{w, t, log}
}

// come has a client come, and returns where its answer will be.
func (b bench) come(r auth.Request) <-chan outcome {
	answer := make(chan outcome, 2)
	c := *r.Connect
	c.Password = bytes.Clone(c.Password)
	r.Connect = &c
	who, err := b.Authenticate(r, func(who *auth.Principal, err error) { answer <- outcome{who, err} })
	clear(c.Password) // it was borrowed
	if !errors.Is(err, auth.ErrLater) {
		answer <- outcome{who, err}
	}
	return answer
}

func ann(password string) auth.Request {
	return auth.Request{
		Remote: netip.MustParseAddrPort("192.0.2.1:5555"), Listener: "mqtts",
		Connect: &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("c1"), HasUsername: true, Username: []byte("ann"),
			HasPassword: true, Password: []byte(password)},
	}
}

func answers(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// What the server answers, and what it makes of the client.
func TestAnswers(t *testing.T) {
	for answer, want := range map[string]struct {
		user string
		err  error
	}{
		`{"result": "allow"}`:                     {"ann", nil},
		`{"result": "allow", "user": "device-7"}`: {"device-7", nil},
		`{"result": "deny"}`:                      {"", auth.ErrBadCredentials},
		`{"result": "deny", "user": "root"}`:      {"", auth.ErrBadCredentials},
		`{"result": "ignore"}`:                    {"", auth.ErrPass},
		`{"result": "Allow"}`:                     {"", auth.ErrUnavailable},
		`{"result": true}`:                        {"", auth.ErrUnavailable},
		`{}`:                                      {"", auth.ErrUnavailable},
		`null`:                                    {"", auth.ErrUnavailable},
		``:                                        {"", auth.ErrUnavailable},
		`allow`:                                   {"", auth.ErrUnavailable},
		`{"result": "allow"`:                      {"", auth.ErrUnavailable},
		`{"result": "allow"} {"result": "deny"}`:  {"", auth.ErrUnavailable},
		`{"result": "allow", "acl": []}`:          {"ann", nil},
		`{"result": "allow", "expires": 4102444800, "groups": ["g"], "acl": [{"allow": "all", "topics": ["a"]}]}`: {"ann", nil},
		`{"result": "allow", "rights": []}`:                                                                                               {"", auth.ErrUnavailable}, // it says more than is understood
		`{"result": "allow", "acl": [{"allow": "all", "topics": ["a"], "unless": "b"}]}`:                                                  {"", auth.ErrUnavailable},
		`{"result": "allow", "acl": [{"allow": "everything", "topics": ["a"]}]}`:                                                          {"", auth.ErrUnavailable},
		`{"result": "allow", "acl": [` + strings.Repeat(`{"allow": "all", "topics": ["a"]},`, 64) + `{"allow": "all", "topics": ["a"]}]}`: {"", auth.ErrUnavailable},
		`{"result": "allow", "groups": [""]}`:                                                                                             {"", auth.ErrUnavailable},
		`{"result": "allow", "expires": 1}`:                                                                                               {"", auth.ErrUnavailable},
		`{"result": "allow", "expires": "x"}`:                                                                                             {"", auth.ErrUnavailable},
		`{"result": "allow", "user": ""}`:                                                                                                 {"", auth.ErrUnavailable},
		`{"result": "allow", "user": "a\nb"}`:                                                                                             {"", auth.ErrUnavailable},
		`{"result": "allow", "user": 7}`:                                                                                                  {"", auth.ErrUnavailable},
		`{"result": "allow", "user": "` + strings.Repeat("x", 1025) + `"}`:                                                                {"", auth.ErrUnavailable},
		`{"result": "allow"}` + strings.Repeat(" ", maxAnswer):                                                                            {"", auth.ErrUnavailable},
	} {
		b := start(t, answers(answer))
		got := <-b.come(ann("secret"))
		if !errors.Is(got.err, want.err) || got.who.User() != want.user {
			t.Errorf("%.60s: user %q, %v", answer, got.who.User(), got.err)
		}
		if failed := b.Stats().Failed.Load() == 1; failed != errors.Is(want.err, auth.ErrUnavailable) || failed != strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("%.60s: failed %v, log %s", answer, failed, b.log)
		}
	}
}

// Rights, groups and an end are the client's own; nobody has none.
func TestExtras(t *testing.T) {
	topic, err := router.ParseTopic([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, answers(`{"result": "allow", "expires": 4102444800, "groups": ["g"], "acl": [{"deny": "all", "topics": ["a"]}]}`))
	got := <-b.come(ann("x"))
	if got.err != nil || got.who.Expires().Unix() != 4102444800 || fmt.Sprint(got.who.Groups()) != "[g]" ||
		got.who.Rights().MayReceive(&auth.Identity{ClientID: "c1", Principal: got.who}, topic, 1) != auth.Forbidden {
		t.Errorf("%v: expires %v, groups %v", got.err, got.who.Expires(), got.who.Groups())
	}
	nobody := ann("x")
	nobody.Connect.HasUsername, nobody.Connect.Username = false, nil
	if got := <-b.come(nobody); !errors.Is(got.err, auth.ErrUnavailable) {
		t.Errorf("without a name: %v", got.err)
	}
	soon := time.Now().Add(2 * time.Second).Unix() // who is remembered is so no longer than that
	b = start(t, answers(fmt.Sprintf(`{"result": "allow", "expires": %d}`, soon)), func(o *Options) { o.Remember = time.Hour })
	r := ann("x")
	if got := <-b.come(r); got.err != nil {
		t.Fatal(got.err)
	}
	d := b.known.digestOf(&r)
	if _, ok := b.known.find(d, time.Unix(soon, 1)); ok {
		t.Error("remembered beyond the end")
	}
	if _, ok := b.known.find(d, time.Unix(soon-1, 0)); !ok {
		t.Error("not remembered")
	}
}

// What is no answer at all lets nobody in, and holds nobody up for longer than the limit.
func TestServersThatDoNotAnswer(t *testing.T) {
	elsewhere := httptest.NewServer(answers(`{"result": "allow"}`))
	defer elsewhere.Close()
	allow := []byte(`{"result": "allow"}`)
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		limit time.Duration
		says  string
	}{
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
			<-r.Context().Done()
		}, 50 * time.Millisecond, "deadline"},
		"drips its header": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			for _, c := range []byte("HTTP/1.1 200 OK\r\nX-Slow: " + strings.Repeat("x", 1<<20)) {
				if _, err := conn.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}, 50 * time.Millisecond, "deadline"},
		"drips its body": {func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			for _, c := range append(bytes.Repeat([]byte{' '}, maxAnswer/2), allow...) {
				if _, err := w.Write([]byte{c}); err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		}, 50 * time.Millisecond, "deadline"},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, time.Minute, "status 307"},
		"is huge": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return
				}
			}
		}, time.Minute, "more than"},
		"has a huge header": {func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1<<10))
			}
			w.Write(allow)
		}, time.Minute, "header"},
		"is compressed": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				w.Write(allow)
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("\x1f\x8b"))
		}, time.Minute, "not understood"},
		"fails":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write(allow) }, time.Minute, "status 500"},
		"says 201":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.Write(allow) }, time.Minute, "status 201"},
		"hangs up":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, time.Minute, "EOF"},
		"not there": {nil, time.Minute, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			serve := c.serve
			b := start(t, serve, func(o *Options) {
				o.Timeout = c.limit
				if serve == nil {
					o.URL = gone.URL
				}
			})
			if got := <-b.come(ann("secret")); !errors.Is(got.err, auth.ErrUnavailable) || got.who != nil || !strings.Contains(got.err.Error(), c.says) {
				t.Errorf("user %q, %v", got.who.User(), got.err)
			}
			if text := b.log.String(); strings.Contains(text, "secret") {
				t.Errorf("log: %s", text)
			}
		})
	}
}

// The server is shown what the client has shown, and the secret of the moment.
func TestQuestion(t *testing.T) {
	var got, want map[string]any
	var header http.Header
	secret := "Bearer one"
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		header, got = r.Header.Clone(), nil
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost {
			t.Error(r.Method, err)
		}
		io.WriteString(w, `{"result": "ignore"}`)
	}, func(o *Options) { o.Header, o.Secret = "Authorization", func() string { return secret } })
	bare := ann("")
	bare.Connect = &mqtt.Connect{Version: mqtt.V311}
	binary := ann("\xff\x00")
	certified := ann("")
	certified.Connect.HasPassword = false
	certified.Certificate = &x509.Certificate{Raw: []byte("x"), DNSNames: []string{"a.example"}}
	certified.Certificate.Subject.CommonName = `a,b="c`
	for name, c := range map[string]struct {
		r    auth.Request
		want string
	}{
		"all": {ann(`sec"ret`), `{"client_id": "c1", "username": "ann", "password": "sec\"ret", "address": "192.0.2.1",
			"port": 5555, "listener": "mqtts", "protocol": "5.0"}`},
		"nothing": {bare, `{"client_id": "", "address": "192.0.2.1", "port": 5555, "listener": "mqtts", "protocol": "3.1.1"}`},
		"binary": {binary, `{"client_id": "c1", "username": "ann", "password_base64": "/wA=", "address": "192.0.2.1",
			"port": 5555, "listener": "mqtts", "protocol": "5.0"}`},
		"certificate": {certified, `{"client_id": "c1", "username": "ann", "address": "192.0.2.1",
			"port": 5555, "listener": "mqtts", "protocol": "5.0", "certificate": {"subject": "CN=a\\,b=\\\"c", "dns": ["a.example"],
			"sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}}`},
	} {
		want = nil
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if got := <-b.come(c.r); !errors.Is(got.err, auth.ErrPass) {
			t.Errorf("%s: %v", name, got.err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || header.Get("Authorization") != secret || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: the server is sent %v, %v", name, got, header)
		}
		secret += "more"
	}
}

// As many requests are under way as may be, as many clients wait, and all others are told
// so at once; the connections are used again.
func TestBounds(t *testing.T) {
	let := make(chan struct{})
	var connections, now, most atomic.Int32
	seen := sync.Map{}
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		if _, was := seen.LoadOrStore(r.RemoteAddr, true); !was {
			connections.Add(1)
		}
		most.Store(max(most.Load(), now.Add(1)))
		<-let
		now.Add(-1)
		io.WriteString(w, `{"result": "allow"}`)
	}, func(o *Options) { o.Concurrency, o.Queue = 2, 3 })
	var waiting []<-chan outcome
	for range 2 {
		waiting = append(waiting, b.come(ann("x")))
	}
	for deadline := time.Now().Add(time.Minute); now.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("two are not asked at a time")
		}
	}
	for range 3 {
		waiting = append(waiting, b.come(ann("x")))
	}
	for range 5 {
		if got := <-b.come(ann("x")); !errors.Is(got.err, auth.ErrBusy) {
			t.Errorf("one too many: %v", got.err)
		}
	}
	close(let)
	for _, answer := range waiting {
		if got := <-answer; got.err != nil {
			t.Error(got.err)
		}
	}
	for range 50 {
		if got := <-b.come(ann("x")); got.err != nil {
			t.Error(got.err)
		}
	}
	if most.Load() > 2 || connections.Load() > 2 || b.Stats().Busy.Load() != 5 {
		t.Errorf("%d at a time, %d connections, %d busy", most.Load(), connections.Load(), b.Stats().Busy.Load())
	}
}

// The time in which a client waits for its turn counts: when the server hangs, each is
// told in time, and the log tells of it once, and once that it is over.
func TestQueueBehindAServerThatHangs(t *testing.T) {
	var hangs atomic.Bool
	hangs.Store(true)
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if hangs.Load() {
			<-r.Context().Done()
			return
		}
		io.WriteString(w, `{"result": "allow"}`)
	}, func(o *Options) { o.Concurrency, o.Queue, o.Timeout = 1, 100, 300*time.Millisecond })
	var waiting []<-chan outcome
	for range 100 {
		waiting = append(waiting, b.come(ann("x"))) // one after the other they would wait for half a minute
	}
	for _, answer := range waiting {
		if got := <-answer; !errors.Is(got.err, auth.ErrUnavailable) {
			t.Error(got.err)
		}
	}
	hangs.Store(false)
	for deadline := time.Now().Add(time.Minute); ; {
		if got := <-b.come(ann("x")); got.err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(got.err)
		}
	}
	text := b.log.String()
	if strings.Count(text, "level=ERROR") != 1 || strings.Count(text, "level=INFO") != 1 {
		t.Errorf("log: %s", text)
	}
}

// Who was let in is, for a while, without a question, if it shows the same again; nothing
// else is remembered.
func TestRemembered(t *testing.T) {
	var asked atomic.Int32
	result := "allow"
	b := start(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprintf(w, `{"result": %q}`, result)
	}, func(o *Options) { o.Remember, o.MaxRemembered = time.Hour, 10 })
	come := func(r auth.Request, want int32) {
		t.Helper()
		before := asked.Load()
		<-b.come(r)
		if n := asked.Load() - before; n != want {
			t.Errorf("asked %d times, want %d", n, want)
		}
	}
	come(ann("x"), 1)
	come(ann("x"), 0)
	another := ann("x")
	another.Remote = netip.MustParseAddrPort("192.0.2.1:6666")
	come(another, 0) // the port is chance
	for name, change := range map[string]func(*auth.Request){
		"password":       func(r *auth.Request) { r.Connect.Password = []byte("y") },
		"no password":    func(r *auth.Request) { r.Connect.HasPassword, r.Connect.Password = false, nil },
		"empty password": func(r *auth.Request) { r.Connect.Password = nil },
		"user":           func(r *auth.Request) { r.Connect.Username = []byte("bob") },
		"client":         func(r *auth.Request) { r.Connect.ClientID = []byte("c2") },
		"shifted by one": func(r *auth.Request) { r.Connect.ClientID, r.Connect.Username = []byte("c1a"), []byte("nn") },
		"address":        func(r *auth.Request) { r.Remote = netip.MustParseAddrPort("192.0.2.2:5555") },
		"listener":       func(r *auth.Request) { r.Listener = "mqtt" },
		"certificate":    func(r *auth.Request) { r.Certificate = &x509.Certificate{Raw: []byte("x")} },
		"version":        func(r *auth.Request) { r.Connect.Version = mqtt.V311 },
	} {
		result = "deny"
		r := ann("x")
		change(&r)
		for range 2 {
			if got := <-b.come(r); !errors.Is(got.err, auth.ErrBadCredentials) {
				t.Errorf("another %s: %v", name, got.err)
			}
		}
	}
	come(ann("x"), 0) // the denials have pushed nobody out
	result = "allow"
	for i := range 100 {
		come(ann(fmt.Sprint(i)), 1)
	}
	if n := len(b.known.mu.latest) + len(b.known.mu.former); n > 10 {
		t.Errorf("%d are remembered", n)
	}
	come(ann("x"), 1)
	d := b.known.digestOf(&auth.Request{Connect: ann("x").Connect, Remote: ann("x").Remote, Listener: "mqtts"})
	if _, ok := b.known.find(d, time.Now()); !ok {
		t.Error("not remembered")
	}
	if _, ok := b.known.find(d, time.Now().Add(time.Hour)); ok {
		t.Error("remembered for too long")
	}
}

// Close ends what is under way, and each client is answered once.
func TestClose(t *testing.T) {
	b := start(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, func(o *Options) { o.Concurrency = 2 })
	var waiting []<-chan outcome
	for range 10 {
		waiting = append(waiting, b.come(ann("x")))
	}
	b.Close()
	b.Close()
	for _, answer := range append(waiting, b.come(ann("x"))) {
		got := <-answer
		if !errors.Is(got.err, auth.ErrUnavailable) && !errors.Is(got.err, auth.ErrBusy) {
			t.Error(got.err)
		}
		if len(answer) > 0 {
			t.Error("answered twice")
		}
	}
}

func TestCheckURL(t *testing.T) {
	for text, want := range map[string][2]bool{ // as it is, and with plain
		"https://auth.example.com/mqtt?x=y": {true, true},
		"http://127.0.0.1:8080/":            {true, true},
		"http://[::1]:8080":                 {true, true},
		"http://localhost/":                 {true, true},
		"http://auth.example.com/":          {false, true},
		"http://localhost.example.com/":     {false, true},
		"http://127.0.0.1.example.com/":     {false, true},
		"https://user:pass@example.com/":    {},
		"https:auth.example.com":            {},
		"https://":                          {},
		"https://:443/":                     {},
		"https://example.com/#x":            {},
		"ftp://127.0.0.1/":                  {},
		"auth.example.com":                  {},
		"http://%zz/":                       {},
	} {
		if got := [2]bool{CheckURL(text, false) == nil, CheckURL(text, true) == nil}; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for text, want := range map[string]string{
		"Bearer abc\n": "Bearer abc", "abc": "abc", "abc\r\n": "abc",
		"": "", "\n": "", "a\nb\n": "", "a\x00": "", "ä": "", strings.Repeat("x", 4097): "",
	} {
		got, err := ReadSecret(strings.NewReader(text))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %.20q, %v", text, got, err)
		}
	}
}

// lockedBuffer is a log to be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func FuzzAnswer(f *testing.F) {
	for _, text := range []string{`{"result": "allow", "user": "ann"}`, `{"result": "deny"}`, `{"result": "ignore"}`, `null`, `[]`, `{"result": "allow"} x`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := parse(text)
		if err == nil && (v.Result != "allow" && v.Result != "deny" && v.Result != "ignore" || v.User != nil && (*v.User == "" || len(*v.User) > maxName)) {
			t.Errorf("%q is taken for %+v", text, v)
		}
	})
}
