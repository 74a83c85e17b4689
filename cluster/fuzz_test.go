package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"

	"github.com/hashicorp/memberlist"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dunlin/proto/clusterpb"
	"dunlin/router"
)

// unstarted is a node that listens nowhere.
func unstarted(t testing.TB) *Cluster {
	t.Helper()
	o := DefaultOptions()
	o.ClusterID, o.Name, o.Identity, o.Start, o.Cluster = "id", "a", "id-a", 1, "ours"
	o.GossipAddr, o.ClusterAddr = "127.0.0.1:0", "127.0.0.1:0"
	o.Logger = slog.New(slog.DiscardHandler)
	c, err := New(o, router.NewTable(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzGreet has whoever calls say who he is with any bytes (case 52): who is let in has
// said all that a node of this cluster says, and who is not is told so by a status.
func FuzzGreet(f *testing.F) {
	c := unstarted(f)
	good := c.hello(&peer{identity: "id-b", start: 2})
	good.Identity, good.Start = "id-b", 2
	for _, change := range []func(*clusterpb.Hello){
		func(*clusterpb.Hello) {}, func(h *clusterpb.Hello) { h.Identity = "id-a" }, func(h *clusterpb.Hello) { h.ClusterId = "" },
		func(h *clusterpb.Hello) { h.VersionMin, h.VersionMax = 9, 1 }, func(h *clusterpb.Hello) { h.Cluster = nil }, func(h *clusterpb.Hello) { h.Start = 0 },
	} {
		h := proto.Clone(good).(*clusterpb.Hello)
		change(h)
		b, err := proto.Marshal(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, w, err := c.greet(metadata.NewIncomingContext(context.Background(), metadata.Pairs(helloKey, string(b))))
		if err != nil {
			if h != nil || w != nil || status.Code(err) != codes.PermissionDenied {
				t.Fatalf("refused with %v, %v, %v", h, w, err)
			}
			return
		}
		if h.ClusterId != "id" || h.Identity == "" || h.Identity == "id-a" || h.Start == 0 ||
			w.Version < versionMin || w.Version > versionMax || w.Version > h.VersionMax || w.Identity != "id-a" || w.GetCluster() != "ours" {
			t.Fatalf("%v is answered with %v", h, w)
		}
	})
}

// FuzzMember has gossip tell anything of anybody: a member is one that this cluster has,
// under its own name.
func FuzzMember(f *testing.F) {
	c := unstarted(f)
	b, err := c.encodeMeta("ours")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, gossipKey("id-a", 1))
	b, _ = proto.Marshal(&clusterpb.Meta{Version: 2, ClusterId: "id", Identity: "x#1", Start: 1 << 40, ClusterAddr: ":1"})
	f.Add(b, gossipKey("x#1", 1<<40))
	f.Add([]byte{8, 1}, "")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		n := &memberlist.Node{Name: name, Meta: b, Addr: net.IPv4(127, 0, 0, 9), Port: 1}
		m, err := c.readMember(n)
		refused := gossipDelegate{c}.NotifyAlive(n)
		if err != nil {
			if refused == nil {
				t.Fatalf("%v, and let in", err)
			}
			return
		}
		if foreign := m.cluster != nil && *m.cluster != "" && *m.cluster != "ours"; foreign != (refused != nil) {
			t.Fatalf("%+v: %v", m, refused)
		}
		if m.identity == "" || gossipKey(m.identity, m.start) != name || m.key != name {
			t.Fatalf("%q is taken for %+v", name, m)
		}
		if host, port, err := net.SplitHostPort(m.clusterAddr); err != nil || host == "" {
			t.Fatalf("address %q: %q and %q, %v", m.clusterAddr, host, port, err)
		}
	})
}

// FuzzFrames reads frames whose checksums are right, whatever is in them: each takes one
// piece of what came, and is written alike again.
func FuzzFrames(f *testing.F) {
	good := appendFrame(nil, frame{kind: frameRecords, reliable: true, seq: 5, body: []byte("hello")})
	f.Add(good, []byte{1, 2})
	f.Add(appendFrame(nil, frame{kind: frameConfirm, body: appendSpans(nil, []span{{1, 3}, {9, 9}})}), []byte{})
	f.Fuzz(func(t *testing.T, head, body []byte) {
		if len(head) < len(good)-len("hello") || len(body) > 1<<12 {
			return
		}
		b := appendFrame(nil, frame{kind: frameType(head[0]), reliable: head[1]&1 != 0, seq: binary.BigEndian.Uint64(head[2:]), body: body})
		fr, rest, err := readFrame(append(b, head...), 1<<12)
		if err != nil {
			return // of a kind that is not known
		}
		if !bytes.Equal(rest, head) || !bytes.Equal(fr.body, body) || !bytes.Equal(appendFrame(nil, fr), b) {
			t.Fatalf("%x is read as %+v and %x", b, fr, rest)
		}
	})
}
