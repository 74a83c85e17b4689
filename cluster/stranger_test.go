package cluster_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dunlin/cluster"
	"dunlin/proto/clusterpb"
	"dunlin/router"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*cluster.Options)
		want   string
	}{
		{"gossip beyond loopback", func(o *cluster.Options) { o.GossipAddr = "0.0.0.0:7946" }, "gossip key is required"},
		{"gossip on all interfaces", func(o *cluster.Options) { o.GossipAddr = ":7946" }, "gossip key is required"},
		{"cluster beyond loopback", func(o *cluster.Options) { o.ClusterAddr = "10.1.2.3:7947" }, "certificate, key and CA are required"},
		{"short key", func(o *cluster.Options) { o.GossipKeys = [][]byte{[]byte("short")} }, "16, 24 or 32"},
		{"a key twice", func(o *cluster.Options) { o.GossipKeys = [][]byte{oldKey, oldKey} }, "stands twice"},
		{"many keys", func(o *cluster.Options) { o.GossipKeys = make([][]byte, 9) }, "at most 8"},
		{"no port", func(o *cluster.Options) { o.ClusterAddr = "127.0.0.1" }, "host:port"},
		{"join without port", func(o *cluster.Options) { o.Join = []string{"other"} }, "host:port"},
		{"no identity", func(o *cluster.Options) { o.Identity = "" }, "identity"},
		{"metadata too long", func(o *cluster.Options) { o.Name = strings.Repeat("x", 600) }, "gossip carries 512"},
	} {
		o := loopback(t, "a")
		c.change(&o)
		_, err := cluster.New(o, router.NewTable(), newBroker(t))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// raw is a codec of bytes, as a stranger may speak.
type raw struct{}

func (raw) Name() string                  { return "dunlin" }
func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

// call opens a stream to n with a Hello, sends b and returns how it ends.
func call(t *testing.T, n *node, method string, hello *clusterpb.Hello, b []byte) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+n.Nodes()[0].ClusterAddr,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if hello != nil {
		h, err := proto.Marshal(hello)
		if err != nil {
			t.Fatal(err)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "dunlin-hello-bin", string(h))
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(raw{}))
	if err != nil {
		return err
	}
	_ = st.SendMsg(b)
	for err == nil {
		var got []byte
		err = st.RecvMsg(&got)
	}
	return err
}

func TestStrangersAtTheClusterPort(t *testing.T) {
	a := newNode(t, loopback(t, "a")).ready()
	good := func() *clusterpb.Hello {
		return &clusterpb.Hello{
			VersionMin: 1, VersionMax: 1, Identity: "x", Start: 1,
			ToIdentity: a.opts.Identity, ToStart: a.opts.Start,
		}
	}
	for _, c := range []struct {
		name   string
		method string
		hello  func(*clusterpb.Hello)
		want   codes.Code
	}{
		{"no hello", "Forward", nil, codes.PermissionDenied},
		{"wrong cluster id", "Forward", func(h *clusterpb.Hello) { h.ClusterId = "other" }, codes.PermissionDenied},
		{"no identity", "Feed", func(h *clusterpb.Hello) { h.Identity = "" }, codes.PermissionDenied},
		{"its own identity", "Feed", func(h *clusterpb.Hello) { h.Identity = a.opts.Identity }, codes.PermissionDenied},
		{"newer versions only", "Feed", func(h *clusterpb.Hello) { h.VersionMin, h.VersionMax = 7, 9 }, codes.PermissionDenied},
		{"another start meant", "Feed", func(h *clusterpb.Hello) { h.ToStart = 9 }, codes.FailedPrecondition},
		{"no member", "Forward", func(*clusterpb.Hello) {}, codes.Unavailable},
		{"unknown method", "Other", func(*clusterpb.Hello) {}, codes.Unimplemented},
		{"unknown service", "/dunlin.cluster.v2.Peer/Feed", func(*clusterpb.Hello) {}, codes.Unimplemented},
		{"path without slash", "Forward", func(*clusterpb.Hello) {}, codes.Unimplemented}, // case 53
	} {
		var h *clusterpb.Hello
		if c.hello != nil {
			h = good()
			c.hello(h)
		}
		method := c.method
		if method[0] != '/' && c.name != "path without slash" {
			method = "/dunlin.cluster.v1.Peer/" + method
		}
		err := call(t, a, method, h, []byte("rubbish"))
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, not %v", c.name, err, c.want)
		}
	}
}

// A member whose frames are malformed is disconnected, and nothing worse (case 53).
func TestBadFramesOfAMember(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := loopback(t, "a")
	o.Registerer = reg
	a := newNode(t, o).ready()
	newNode(t, loopback(t, "b", a.GossipAddr())).ready()
	a.broker.until("b", func() bool { return len(a.broker.members) == 1 })
	h := &clusterpb.Hello{
		VersionMin: 1, VersionMax: 1, Identity: "id-b", Start: 1,
		ToIdentity: a.opts.Identity, ToStart: a.opts.Start, Sender: 1 << 40,
	}
	for _, method := range []string{"Forward", "Feed"} {
		for _, b := range [][]byte{[]byte("rubbish"), make([]byte, 64), []byte("\x01\x63aaaaaaaaaaaaaaaaaaaaaaaaaaa")} {
			// The true b may take its stream back before the frame is read.
			for counted := false; !counted; {
				before := metric(t, reg, "dunlin_cluster_bad_frames_total")
				if err := call(t, a, "/dunlin.cluster.v1.Peer/"+method, h, b); status.Code(err) != codes.Aborted {
					t.Fatalf("%s: %q: %v", method, b, err)
				}
				counted = metric(t, reg, "dunlin_cluster_bad_frames_total") > before
			}
		}
	}
	// The true b finds its way back.
	a.Forward(a.peer("b"), cluster.Frame{Body: a.body(0), Reliable: true, Token: 1})
	a.broker.until("confirmation", func() bool { return len(a.broker.confirmed) == 1 })
}

// metric sums the series of that name.
func metric(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Shutdown leaves neither goroutine nor port behind.
func TestShutdownLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	var addrs []string
	func() {
		a := newNode(t, loopback(t, "a")).ready()
		b := newNode(t, loopback(t, "b", a.GossipAddr())).ready()
		addrs = append(addrs, a.GossipAddr(), b.GossipAddr(), a.Nodes()[0].ClusterAddr, b.Nodes()[0].ClusterAddr)
		a.shutdown()
		b.shutdown()
	}()
	for late := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(late) {
			b := make([]byte, 1<<20)
			t.Fatalf("%d goroutines more than before:\n%s", runtime.NumGoroutine()-before, b[:runtime.Stack(b, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = l.Close()
	}
}

// Two members of one name have series of their own.
func TestMetricsOfNamesakes(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		reg := prometheus.NewRegistry()
		for i := range l.nodes {
			l.start(i, func(o *cluster.Options) {
				o.Name = "same"
				if i == 0 {
					o.Registerer = reg
				}
			})
		}
		for _, n := range l.nodes {
			n.ready()
		}
		if got := metric(t, reg, "dunlin_cluster_members"); got != 3 {
			t.Error(fmt.Sprint(got, " members"))
		}
	})
}
