package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fakeClients are Clients in a sorted slice.
type fakeClients struct {
	all []Client
	err error
}

func (f *fakeClients) List(_ context.Context, after string, limit int) ([]Client, error) {
	i, found := slices.BinarySearchFunc(f.all, after, byID)
	if found {
		i++
	}
	return f.all[i:min(i+limit, len(f.all))], f.err
}

func (f *fakeClients) Get(_ context.Context, id string) (Client, bool, error) {
	i, found := slices.BinarySearchFunc(f.all, id, byID)
	if !found {
		return Client{}, false, f.err
	}
	return f.all[i], true, f.err
}

func (f *fakeClients) Kick(_ context.Context, id string) (bool, error) {
	i, found := slices.BinarySearchFunc(f.all, id, byID)
	if found {
		f.all = slices.Delete(f.all, i, i+1)
	}
	return found, f.err
}

func byID(c Client, id string) int { return strings.Compare(c.ClientID, id) }

// fakeCluster is a Cluster of two.
type fakeCluster struct{ err error }

func (f *fakeCluster) Ready() error { return f.err }
func (f *fakeCluster) Nodes() []Node {
	return []Node{
		{Name: "n1", Identity: "i1", State: "alive", Self: true, Address: map[string]string{"mqtt": "127.0.0.1:1883"}},
		{Name: "n2", Identity: "i2", State: "suspect"},
	}
}

// fakeShards are two replicas; shard 3 has three sessions.
type fakeShards struct{}

func (fakeShards) Replicas() []Replica {
	return []Replica{{Shard: 0, Role: "leader", Term: 2}, {Shard: 3, Role: "follower", Applied: 7, Digest: "00000000000000ff"}}
}

func (fakeShards) Sessions(shard int, cursor uint32, limit int) (SessionPage, bool) {
	if shard != 3 {
		return SessionPage{}, shard == 0
	}
	all := []Session{{ClientID: "a", Epoch: 1}, {ClientID: "b", Epoch: 2}, {ClientID: "c", Epoch: 3}}
	page := SessionPage{Since: 7, Until: 8, Sessions: all[cursor:min(int(cursor)+limit, len(all))]}
	if next := int(cursor) + limit; next < len(all) {
		page.Next = uint32(next)
	}
	return page, true
}

// fakeBackups are shards 0 and 1: 0 holds something, of 1 nobody knows the leader
// once it has written a little.
type fakeBackups struct {
	took []byte
	set  map[string]string
	put  []Record
	err  error
}

func (f *fakeBackups) Contents(context.Context) (Contents, error) {
	return Contents{Cluster: "c", Shards: 2}, f.err
}

func (f *fakeBackups) Backup(_ context.Context, shard int, to io.Writer) error {
	if f.err != nil {
		return f.err
	}
	if _, err := to.Write([]byte("some")); err != nil || shard == 0 {
		return err
	}
	return errors.New("its leader was lost")
}

func (f *fakeBackups) Restore(_ context.Context, _ int, from io.Reader) (err error) {
	f.took, err = io.ReadAll(from)
	return errors.Join(err, f.err)
}

func (f *fakeBackups) Begin(context.Context, int) error { return f.err }

func (f *fakeBackups) Set(_ context.Context, settings map[string]string) error {
	f.set = settings
	return f.err
}

func (f *fakeBackups) Records(_ context.Context, after string) ([]Record, string, error) {
	if after == "" {
		return []Record{{Kind: "user", Name: "ann", Value: "x"}}, "user ann", f.err
	}
	return nil, "", f.err
}

func (f *fakeBackups) Put(_ context.Context, records []Record) error {
	f.put = records
	return f.err
}

// fakeMembership is a cluster of n1 alone, which does as it is told.
type fakeMembership struct{ done []string }

func (f *fakeMembership) Status(context.Context) (ClusterStatus, error) {
	return ClusterStatus{Cluster: "c", Nodes: []ClusterNode{{Number: 1, Name: "n1"}}}, nil
}

func (f *fakeMembership) Remove(_ context.Context, node string, stays bool) error {
	if node != "n1" {
		return NotFound(errors.New("no such node"))
	}
	if !stays {
		return Conflict(errors.New("the last node"))
	}
	f.done = append(f.done, "stay "+node)
	return nil
}

func (f *fakeMembership) Rebalance(context.Context) error {
	f.done = append(f.done, "rebalance")
	return nil
}

func (f *fakeMembership) Transfer(_ context.Context, group, node string) error {
	f.done = append(f.done, "transfer "+group+" to "+node)
	return errors.New("no leader")
}

func (f *fakeMembership) SetReplicas(_ context.Context, want int) error {
	f.done = append(f.done, fmt.Sprint("replicas ", want))
	return nil
}

func TestMembership(t *testing.T) {
	f := newFixture()
	m := new(fakeMembership)
	f.Membership, f.Replication = m, m
	for _, tt := range []struct {
		method, path string
		code         int
		says         string
	}{
		{"GET", "/api/v1/cluster", 200, `"name": "n1"`},
		{"DELETE", "/api/v1/cluster/nodes/n2", 404, "no such node"},
		{"DELETE", "/api/v1/cluster/nodes/n1", 409, "the last node"},
		{"POST", "/api/v1/cluster/nodes/n1/stay", 202, ""},
		{"POST", "/api/v1/cluster/rebalance", 202, ""},
		{"POST", "/api/v1/cluster/groups/meta/leader", 400, "want the name of the node"},
		{"POST", "/api/v1/cluster/groups/meta/leader?node=n1", 503, "no leader"},
		{"PUT", "/api/v1/cluster/replicas", 400, "want a number from 1 to 9"},
		{"PUT", "/api/v1/cluster/replicas?factor=0", 400, "want a number from 1 to 9"},
		{"PUT", "/api/v1/cluster/replicas?factor=10", 400, "want a number from 1 to 9"},
		{"PUT", "/api/v1/cluster/replicas?factor=5", 202, ""},
	} {
		if code, body := f.ask(everything, tt.method, tt.path); code != tt.code || !strings.Contains(body, tt.says) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, code, body)
		}
	}
	if want := []string{"stay n1", "rebalance", "transfer meta to n1", "replicas 5"}; !slices.Equal(m.done, want) {
		t.Errorf("did %q, want %q", m.done, want)
	}
}

type fixture struct {
	*Server
	backups *fakeBackups
	clients *fakeClients
	cluster *fakeCluster
}

func newFixture(ids ...string) *fixture {
	f := &fixture{clients: new(fakeClients), cluster: new(fakeCluster), backups: new(fakeBackups)}
	for _, id := range ids {
		f.clients.all = append(f.clients.all, Client{ClientID: id, Node: "n1", Version: "5.0"})
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "dunlin_ready"}))
	f.Server = New(Options{
		Version: "v1", Cluster: f.cluster, Clients: f.clients, Shards: fakeShards{}, Backups: f.backups, Restores: f.backups, Metrics: reg,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	return f
}

// ask sends a request to the handler and returns code and body.
func (f *fixture) ask(may access, method, target string, header ...string) (int, string) {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:18083"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	f.handler(may).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestHealth(t *testing.T) {
	f := newFixture()
	for _, may := range []access{everything, guarded, healthOnly} {
		for path, want := range map[string]int{
			"/health/live": 200, "/healthz": 200, "/health/ready": 200, "/status": 200, "/metrics": 200, "/nowhere": 404,
		} {
			if code, body := f.ask(may, "GET", path, "Host", "anything.example"); code != want {
				t.Errorf("%s with access %d: %d %s", path, may, code, body)
			}
		}
	}
	f.cluster.err = errors.New("routes of n2 are missing")
	if code, body := f.ask(healthOnly, "GET", "/health/ready"); code != 503 || body != "not ready: routes of n2 are missing\n" {
		t.Errorf("not ready: %d %q", code, body)
	}
	if code, _ := f.ask(healthOnly, "GET", "/health/live"); code != 200 {
		t.Errorf("not ready, but alive: %d", code)
	}
}

func TestClientsAreListedInPages(t *testing.T) {
	f := newFixture("a", "b", "c", "d", "e")
	var got []string
	after, pages := "", 0
	for {
		_, body := f.ask(everything, "GET", "/api/v1/clients?limit=2&after="+after)
		var page ClientPage
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err, body)
		}
		pages++
		for _, c := range page.Clients {
			got = append(got, c.ClientID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if strings.Join(got, "") != "abcde" || pages != 3 {
		t.Errorf("%v in %d pages", got, pages)
	}
	if _, body := newFixture().ask(everything, "GET", "/api/v1/clients"); !strings.Contains(body, `"clients": []`) {
		t.Errorf("no clients: %s", body)
	}
	for _, limit := range []string{"0", "-1", "1001", "x"} {
		if code, _ := f.ask(everything, "GET", "/api/v1/clients?limit="+limit); code != 400 {
			t.Errorf("limit %s: %d", limit, code)
		}
	}
}

func TestOneClient(t *testing.T) {
	f := newFixture("../x", "a/b c")
	if code, body := f.ask(everything, "GET", "/api/v1/clients/a%2Fb%20c"); code != 200 || !strings.Contains(body, `"client_id": "a/b c"`) {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := f.ask(everything, "GET", "/api/v1/clients/%2E%2E%2Fx"); code != 200 {
		t.Errorf("%d", code)
	}
	if code, _ := f.ask(everything, "GET", "/api/v1/clients/nobody"); code != 404 {
		t.Errorf("%d", code)
	}
	if code, _ := f.ask(everything, "DELETE", "/api/v1/clients/a%2Fb%20c"); code != 204 || len(f.clients.all) != 1 {
		t.Errorf("kick: %d, %d left", code, len(f.clients.all))
	}
	if code, _ := f.ask(everything, "DELETE", "/api/v1/clients/a%2Fb%20c"); code != 404 {
		t.Errorf("kick again: %d", code)
	}
	f.clients.err = errors.New("shutting down")
	if code, body := f.ask(everything, "GET", "/api/v1/clients/a"); code != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("%d %s", code, body)
	}
}

func TestNodes(t *testing.T) {
	_, body := newFixture().ask(everything, "GET", "/api/v1/nodes")
	var list NodeList
	if err := json.Unmarshal([]byte(body), &list); err != nil || list.Version != "v1" || len(list.Nodes) != 2 || !list.Nodes[0].Self {
		t.Errorf("%v %s", err, body)
	}
}

func TestShards(t *testing.T) {
	f := newFixture()
	_, body := f.ask(everything, "GET", "/api/v1/shards")
	var list ReplicaList
	if err := json.Unmarshal([]byte(body), &list); err != nil || list.Node != "i1" || len(list.Shards) != 2 || list.Shards[1].Digest != "00000000000000ff" {
		t.Errorf("%v %s", err, body)
	}
	var got []string
	for cursor := ""; ; {
		_, body := f.ask(everything, "GET", "/api/v1/shards/3/sessions?limit=2&cursor="+cursor)
		var page SessionPage
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err, body)
		}
		for _, s := range page.Sessions {
			got = append(got, s.ClientID)
		}
		if page.Next == 0 {
			break
		}
		cursor = strconv.Itoa(int(page.Next))
	}
	if strings.Join(got, "") != "abc" {
		t.Errorf("pages of %v", got)
	}
	if _, body := f.ask(everything, "GET", "/api/v1/shards/0/sessions"); !strings.Contains(body, `"sessions": []`) {
		t.Errorf("no sessions: %s", body)
	}
	for path, want := range map[string]int{
		"/api/v1/shards/1/sessions": 404, "/api/v1/shards/x/sessions": 400,
		"/api/v1/shards/3/sessions?cursor=-1": 400, "/api/v1/shards/3/sessions?limit=1001": 400,
	} {
		if code, body := f.ask(everything, "GET", path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// Case 54: a page of another origin, a rebound name and an address beyond
// loopback change nothing and learn nothing.
func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name   string
		may    access
		header []string
		want   int
	}{
		{"command line", guarded, nil, 204},
		{"own page", guarded, []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:18083"}, 204},
		{"localhost", guarded, []string{"Host", "localhost:18083"}, 204},
		{"IPv6", guarded, []string{"Host", "[::1]:18083"}, 204},
		{"IPv6 without port", guarded, []string{"Host", "[::1]"}, 204},
		{"foreign page", guarded, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example"}, 403},
		{"foreign page, old browser", guarded, []string{"Origin", "http://evil.example"}, 403},
		{"other port", guarded, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:9"}, 403},
		{"rebound name", guarded, []string{"Host", "evil.example:18083"}, 403},
		{"no host", guarded, []string{"Host", ""}, 403},
		{"beyond loopback", healthOnly, nil, 403},
		{"socket", everything, []string{"Host", "node"}, 204},
	} {
		f := newFixture("x")
		if code, body := f.ask(tt.may, "DELETE", "/api/v1/clients/x", tt.header...); code != tt.want {
			t.Errorf("%s: %d %s", tt.name, code, body)
		}
		if kicked := len(f.clients.all) == 0; kicked != (tt.want == 204) {
			t.Errorf("%s: kicked %v", tt.name, kicked)
		}
	}
	for _, path := range []string{"/", "/page.js", "/api/v1/clients", "/api/v1/openapi.json", "/debug/pprof/"} {
		if code, _ := newFixture().ask(guarded, "GET", path, "Host", "evil.example"); code != 403 {
			t.Errorf("%s by a rebound name: %d", path, code)
		}
		if code, _ := newFixture().ask(healthOnly, "GET", path); code != 403 {
			t.Errorf("%s beyond loopback: %d", path, code)
		}
	}
}

// The document names the routes there are, and no other.
func TestOpenAPI(t *testing.T) {
	f := newFixture()
	_, body := f.ask(guarded, "GET", "/api/v1/openapi.json")
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	documented := 0
	for path, methods := range doc.Paths {
		for m := range methods {
			if m == "parameters" {
				continue
			}
			documented++
			if !slices.ContainsFunc(f.routes(), func(r route) bool { return r.path == path && strings.EqualFold(r.method, m) }) {
				t.Errorf("the document has %s %s, which is not served", m, path)
			}
		}
	}
	served := 0
	for _, r := range f.routes() {
		if r.open || strings.HasPrefix(r.path, "/api/") {
			served++
		}
	}
	if documented != served {
		t.Errorf("%d routes documented, %d served", documented, served)
	}
}

func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	f := newFixture()
	for _, path := range []string{"/", "/page.js", "/page.css"} {
		code, body := f.ask(guarded, "GET", path)
		if code != 200 || strings.Contains(body, "http:") || strings.Contains(body, "https:") || strings.Contains(body, "innerHTML") {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// serve runs the server in a fresh data directory and returns it.
func serve(t *testing.T, f *fixture, dataDir string) {
	t.Helper()
	if err := f.Listen("127.0.0.1:0", dataDir); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Serve() }()
	t.Cleanup(func() {
		if err := f.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dataDir, SocketName)); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
}

func overSocket(dataDir string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx, dataDir) },
	}}
}

func TestSocket(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"short": t.TempDir(), "long": long} {
		t.Run(name, func(t *testing.T) {
			// What a killed node leaves behind is replaced.
			path, done, err := socketPath(dir)
			if err != nil {
				t.Fatal(err)
			}
			stale, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			stale.(*net.UnixListener).SetUnlinkOnClose(false)
			stale.Close()
			done()

			f := newFixture("x")
			serve(t, f, dir)
			info, err := os.Stat(filepath.Join(dir, SocketName))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("%v, %v", info, err)
			}
			r, err := overSocket(dir).Get("http://node/api/v1/clients/x")
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != 200 {
				t.Error(r.Status)
			}
			if err := newFixture().Listen("", dir); err == nil || !strings.Contains(err.Error(), "another node is running") {
				t.Errorf("a second node in the directory: %v", err)
			}
		})
	}
}

func TestServerBoundsWhatItReads(t *testing.T) {
	f := newFixture()
	serve(t, f, t.TempDir())
	url := "http://" + f.Addr().String()
	r, err := http.NewRequest("GET", url+"/health/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 2*maxHeaderBytes))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(resp.Status)
	}
	for _, p := range f.parts {
		for name, d := range map[string]time.Duration{
			"header": p.server.ReadHeaderTimeout, "read": p.server.ReadTimeout, "write": p.server.WriteTimeout, "idle": p.server.IdleTimeout,
		} {
			if d <= 0 {
				t.Errorf("no %s timeout", name)
			}
		}
	}
}
