package cases

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dunlin/e2e/harness"
	"dunlin/proto/clusterpb"
)

// port is the address of a node at one of the ports that the harness gives each.
func port(n *harness.Node, port string) string {
	host, _, _ := net.SplitHostPort(n.MQTT)
	return net.JoinHostPort(host, port)
}

const (
	gossipPort  = "7946"
	clusterPort = "7947"

	refusals = "dunlin_cluster_strangers_refused_total"
)

// member is what a node says of itself to others.
type member struct {
	Identity string
	Start    uint64
}

// members are the nodes of the cluster, by name.
func (p *place) members(t *testing.T) map[string]member {
	t.Helper()
	var c struct {
		Nodes []struct {
			member
			Name string
		}
	}
	if err := json.Unmarshal([]byte(p.nodes[0].API(http.MethodGet, "/api/v1/cluster")), &c); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]member)
	for _, n := range c.Nodes {
		all[n.Name] = n.member
	}
	return all
}

// bytesCodec is what gRPC needs to send bytes as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "dunlin" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

// call opens a stream to the first node, with the second one's certificate and this greeting, sends b
// and returns how it ends.
func (p *place) call(t *testing.T, method string, hello *clusterpb.Hello, b []byte) error {
	t.Helper()
	conf := p.ca.Trust("n2")
	conf.ServerName, _, _ = net.SplitHostPort(p.nodes[0].MQTT)
	conn, err := grpc.NewClient("passthrough:///"+port(p.nodes[0], clusterPort), grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if hello != nil {
		h, err := proto.Marshal(hello)
		if err != nil {
			t.Fatal(err)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "dunlin-hello-bin", string(h))
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(bytesCodec{}))
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

// good is a greeting that the first node takes from the second.
func (p *place) good(t *testing.T) *clusterpb.Hello {
	all := p.members(t)
	return &clusterpb.Hello{
		VersionMin: 1, VersionMax: 1, ClusterId: "dunlin", Identity: all["n2"].Identity, Start: all["n2"].Start,
		ToIdentity: all["n1"].Identity, ToStart: all["n1"].Start,
	}
}

const peerService = "/dunlin.cluster.v1.Peer/"

// strangers: who is no node gets no further than the handshake, or the greeting, and a node of others joins
// nothing; the cluster goes on.
func strangers(t *testing.T, p *place) { // case 52
	n := p.nodes[0]
	refused := func(what string, before float64) {
		t.Helper()
		harness.Eventually(t, what+" is counted", func() error {
			if n.Metrics()[refusals] == before {
				return errors.New("it is not")
			}
			return nil
		})
	}
	dial := func(network, port string) net.Conn {
		t.Helper()
		host, _, _ := net.SplitHostPort(n.MQTT)
		c, err := net.Dial(network, net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
	for name, b := range map[string][]byte{"nothing": nil, "HTTP": []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP 2": []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "MQTT": hello()} {
		before := n.Metrics()[refusals]
		if got := told(t, dial("tcp", clusterPort), b); len(got) > 7 { // an alert
			t.Errorf("%s: answered with %q", name, got)
		}
		refused(name, before)
	}
	other := harness.NewCA(t)
	foreign := p.ca.Trust()
	foreign.Certificates = other.Trust("ca").Certificates
	old := p.ca.Trust("n2")
	old.MaxVersion = tls.VersionTLS12
	for name, conf := range map[string]*tls.Config{"no certificate": p.ca.Trust(), "another authority's": foreign, "TLS 1.2": old} {
		before := n.Metrics()[refusals]
		conf.ServerName, _, _ = net.SplitHostPort(n.MQTT)
		conf.NextProtos = []string{"h2"}
		c := tls.Client(dial("tcp", clusterPort), conf)
		err := c.Handshake()
		if err == nil {
			_, err = io.ReadAll(c) // which is when a client of TLS 1.3 hears of it
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		refused(name, before)
	}
	for name, c := range map[string]struct {
		change func(*clusterpb.Hello)
		want   codes.Code
	}{
		"wrong cluster id": {func(h *clusterpb.Hello) { h.ClusterId = "other" }, codes.PermissionDenied},
		"no identity":      {func(h *clusterpb.Hello) { h.Identity = "" }, codes.PermissionDenied},
		"its own identity": {func(h *clusterpb.Hello) { h.Identity = h.ToIdentity }, codes.PermissionDenied},
		"newer versions":   {func(h *clusterpb.Hello) { h.VersionMin, h.VersionMax = 7, 9 }, codes.PermissionDenied},
		"another start":    {func(h *clusterpb.Hello) { h.ToStart++ }, codes.FailedPrecondition},
		"no member":        {func(h *clusterpb.Hello) { h.Identity = "nobody" }, codes.Unavailable},
		"no hello":         {nil, codes.PermissionDenied},
	} {
		h := p.good(t)
		if c.change == nil {
			h = nil
		} else {
			c.change(h)
		}
		if err := p.call(t, peerService+"Forward", h, []byte("rubbish")); status.Code(err) != c.want {
			t.Errorf("%s: %v instead of %v", name, err, c.want)
		}
	}
	garbage := make([]byte, 1000)
	for k := range garbage {
		garbage[k] = byte(k * 7)
	}
	before := n.Metrics()[refusals]
	udp := dial("udp", gossipPort)
	for k := range 300 {
		_, _ = udp.Write(garbage[:1+k*3])
	}
	refused("gossip that is none", before)
	for _, b := range [][]byte{garbage, hello(), {9, 0xff, 0xff, 0xff, 0xff}} {
		told(t, dial("tcp", gossipPort), b)
	}
	for k, c := range []struct {
		name string
		args func(name, host string) []string
	}{
		{"another authority", func(name, host string) []string {
			return append(other.Args(name, host)[:6], p.ca.Args(name, host)[6:]...)
		}},
		{"another gossip key", func(name, host string) []string {
			return append(p.ca.Args(name, host)[:6], other.Args(name, host)[6:]...)
		}},
		{"another cluster id", func(name, host string) []string { return append(p.ca.Args(name, host), "--cluster-id", "other") }},
	} {
		before := n.Metrics()[refusals]
		stranger := harness.Lay(t, harness.Options{Args: []string{"--join", port(n, gossipPort)}, Place: func(int) harness.Place {
			host := harness.Host(t)
			return harness.Place{Host: host, Args: c.args(fmt.Sprint("stranger", k), host)}
		}}).Nodes[0]
		stranger.Start()
		stranger.WaitLive()
		refused(c.name, before)
		if stranger.Ready() == nil {
			t.Errorf("%s: it is ready", c.name)
		}
		stranger.Kill()
	}
	for _, n := range p.nodes {
		if err := n.Ready(); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		harness.Eventually(t, "the strangers are forgotten", func() error {
			if m := n.Metrics()["dunlin_cluster_members"]; m != 2 {
				return fmt.Errorf("%s sees %v members", n.Name, m)
			}
			return nil
		})
	}
}

// replayedGossip: packets that a node has sent, and that somebody has heard and sends again, change nothing.
func replayedGossip(t *testing.T, p *place) { // case 52
	n := p.nodes[0]
	host, _, _ := net.SplitHostPort(n.MQTT)
	ear, err := net.ListenPacket("ip4:udp", host)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("to hear what nodes say to each other takes root")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	const header = 8 // of UDP: ports, length, checksum
	var heard [][]byte
	for len(heard) < 20 {
		b := make([]byte, 1<<16)
		ear.SetReadDeadline(time.Now().Add(patience))
		size, _, err := ear.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		if to := binary.BigEndian.Uint16(b[2:]); fmt.Sprint(to) == gossipPort {
			heard = append(heard, b[header:size])
		}
	}
	before := p.members(t)
	counts := n.Metrics()
	c, err := net.Dial("udp", port(n, gossipPort))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 50 {
		for _, b := range heard {
			c.Write(b)
		}
	}
	for k, b := range heard { // one bit is not as it was
		b[len(b)-1-k%8] ^= 1
		c.Write(b)
	}
	harness.Eventually(t, "changed packets are counted", func() error {
		if n.Metrics()[refusals] == counts[refusals] {
			return errors.New("they are not")
		}
		return nil
	})
	if after := p.members(t); !maps.Equal(after, before) {
		t.Errorf("members %v, and before %v", after, before)
	}
	for _, n := range p.nodes {
		if err := n.Ready(); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		if m := n.Metrics()["dunlin_cluster_members"]; m != 2 {
			t.Errorf("%s sees %v members", n.Name, m)
		}
	}
}

// frame is one frame between nodes, whose checksum is right but for the bits of wrong.
func frame(version, kind byte, size uint32, body []byte, wrong uint32) []byte {
	b := []byte{version, kind, 0, 0}
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint64(b, 1)
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, body)
	return append(binary.LittleEndian.AppendUint32(b, sum^wrong), body...)
}

// badFramesOfPeers: what comes with a member's certificate and greeting and is no frame ends its stream and is
// counted; methods that are not of the list are not there.
func badFramesOfPeers(t *testing.T, p *place) { // case 53
	n := p.nodes[0]
	for name, b := range map[string][]byte{
		"rubbish":         []byte("rubbish"),
		"zeros":           make([]byte, 64),
		"unknown version": frame(99, 1, 4, []byte("body"), 0),
		"unknown type":    frame(1, 99, 4, []byte("body"), 0),
		"checksum":        frame(1, 1, 4, []byte("body"), 1),
		"oversized":       frame(1, 1, 1<<31, []byte("body"), 0),
		"cut short":       frame(1, 1, 400, []byte("body"), 0),
	} {
		for _, method := range []string{"Forward", "Feed", "Raft", "Snapshot"} {
			harness.Eventually(t, name+" in "+method+" is counted", func() error { // the true one may take its stream back before the frame is read
				before := n.Metrics()["dunlin_cluster_bad_frames_total"]
				h := p.good(t)
				h.Sender = uint64(time.Now().UnixNano())
				if err := p.call(t, peerService+method, h, b); status.Code(err) != codes.Aborted {
					return fmt.Errorf("ended with %v", status.Code(err))
				}
				if n.Metrics()["dunlin_cluster_bad_frames_total"] == before {
					return errors.New("it is not")
				}
				return nil
			})
		}
	}
	for _, method := range []string{peerService + "Other", "/dunlin.cluster.v2.Peer/Feed", "Forward", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		if err := p.call(t, method, p.good(t), []byte("rubbish")); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
}
