package cluster_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"dunlin/cluster"
	"dunlin/proto/clusterpb"
)

var (
	oldKey = []byte("0123456789abcdef")
	newKey = []byte("abcdefghijklmnopqrstuvwxyz012345")
)

// authority is a CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newCA(t *testing.T) *authority {
	t.Helper()
	a := &authority{cert: &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.cert, a.key = a.sign(t, a.cert)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

// sign signs c, its own certificate if there is none yet.
func (a *authority) sign(t *testing.T, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// member is the certificate of a node.
func member(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".nodes.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// files writes a certificate, and the authorities that its owner trusts.
func (a *authority) files(t *testing.T, c *x509.Certificate, trusted ...*authority) cluster.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	f := cluster.TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	a.write(t, f, c, trusted...)
	return f
}

func (a *authority) write(t *testing.T, f cluster.TLSFiles, c *x509.Certificate, trusted ...*authority) {
	t.Helper()
	cert, key := a.sign(t, c)
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var bundle []byte
	for _, ca := range append([]*authority{}, trusted...) {
		bundle = append(bundle, ca.pem...)
	}
	for path, b := range map[string][]byte{
		f.Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		f.Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}),
		f.CA:   bundle,
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func load(t *testing.T, f cluster.TLSFiles) *cluster.Credentials {
	t.Helper()
	c, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keep returns credentials that a test can replace.
func keep(c *cluster.Credentials) (now func() *cluster.Credentials, set func(*cluster.Credentials)) {
	p := new(atomic.Pointer[cluster.Credentials])
	p.Store(c)
	return p.Load, p.Store
}

// strangers counts those refused.
type strangers struct {
	mu   sync.Mutex
	why  map[string]int
	from []string
}

func (s *strangers) refused(why, from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = make(map[string]int)
	}
	s.why[why]++
	s.from = append(s.from, from)
}

// until waits until somebody is refused for why.
func (s *strangers) until(t *testing.T, why string) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := s.why[why]
		s.mu.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("nobody was refused for %q, but for %v", why, s.why)
		}
	}
}

// Case 52: without a good certificate nobody gets as far as a Hello.
func TestMutualTLS(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	seen := new(strangers)
	secure := func(name string, ca *authority, join ...string) cluster.Options {
		o := loopback(t, name, join...)
		now, _ := keep(load(t, ca.files(t, member(name), ca)))
		o.TLS, o.GossipKeys, o.Refused = now, [][]byte{oldKey}, seen.refused
		return o
	}
	reg := prometheus.NewRegistry()
	o := secure("a", ours)
	o.Registerer = reg
	a := newNode(t, o).ready()
	b := newNode(t, secure("b", ours, a.GossipAddr())).ready()
	a.broker.until("b", func() bool { return len(a.broker.members) == 1 })
	a.Forward(a.peer("b"), cluster.Frame{Body: a.body(0), Reliable: true, Token: 1})
	a.broker.until("confirmation", func() bool { return len(a.broker.confirmed) == 1 })
	if left := metric(t, reg, "dunlin_cluster_certificate_expiry_seconds"); left < 1 || left > 3600 {
		t.Errorf("a certificate of an hour expires in %v s", left)
	}

	if err := call(t, b, "/dunlin.cluster.v1.Peer/Feed", &clusterpb.Hello{}, nil); err == nil {
		t.Error("who speaks no TLS is heard")
	}
	seen.until(t, "not TLS")
	x := newNode(t, secure("x", theirs, a.GossipAddr()))
	x.broker.until("meeting by gossip", func() bool { return len(x.broker.members) > 0 })
	seen.until(t, "certificate")
	if met(x.Cluster, x.want) {
		t.Error("a node with a certificate of another CA has exchanged routes")
	}
}

// shake calls n's cluster port with a certificate, nil for none, as a stranger that takes
// anybody's would, and says whether a Hello is heard.
func shake(t *testing.T, n *node, files *cluster.TLSFiles) error {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	if files != nil {
		pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	conn, err := grpc.NewClient("passthrough:///"+n.Nodes()[0].ClusterAddr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/dunlin.cluster.v1.Peer/Feed", grpc.ForceCodec(raw{}))
	if err == nil {
		var got []byte
		err = st.RecvMsg(&got)
	}
	if err != nil && strings.Contains(err.Error(), "refused: no hello") {
		return nil // it got that far
	}
	return err
}

// Case 52: a certificate has to be of the CA, in time, of a node's purposes, and of its name if one
// is asked for.
func TestCertificatesOfStrangers(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	with := func(change func(*x509.Certificate)) *x509.Certificate {
		c := member("m")
		change(c)
		return c
	}
	f := ca.files(t, member("node"), ca)
	f.Name = "node.nodes.example"
	o := loopback(t, "a")
	now, _ := keep(load(t, f))
	seen := new(strangers)
	o.TLS, o.Refused = now, seen.refused
	a := newNode(t, o).ready()
	right := []string{"node.nodes.example"}
	for _, c := range []struct {
		name string
		ca   *authority
		cert *x509.Certificate
		want bool
	}{
		{"no certificate", nil, nil, false},
		{"a node's", ca, member("node"), true},
		{"of another CA", other, member("node"), false},
		{"of another name", ca, member("m"), false},
		{"of a wildcard name", ca, with(func(c *x509.Certificate) { c.DNSNames = []string{"*.nodes.example"} }), true},
		{"common name alone", ca, with(func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = right[0], nil }), false},
		{"for servers only", ca, with(func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = right, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), false},
		{"for mail", ca, with(func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = right, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
		}), false},
		{"expired", ca, with(func(c *x509.Certificate) {
			c.DNSNames, c.NotBefore, c.NotAfter = right, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}), false},
		{"not yet valid", ca, with(func(c *x509.Certificate) {
			c.DNSNames, c.NotBefore, c.NotAfter = right, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}), false},
	} {
		var files *cluster.TLSFiles
		if c.ca != nil {
			x := c.ca.files(t, c.cert, ca)
			files = &x
		}
		if err := shake(t, a, files); (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	seen.until(t, "certificate")
}

// A node that its peers would refuse says so at once.
func TestOwnCertificate(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	client := member("m")
	client.ExtKeyUsage = client.ExtKeyUsage[1:]
	for _, c := range []struct {
		name  string
		files cluster.TLSFiles
		want  string
	}{
		{"another CA", other.files(t, member("m"), ca), "peers would refuse it"},
		{"for clients only", ca.files(t, client, ca), "peers would refuse it"},
		{"no CA", ca.files(t, member("m")), "no certificate in it"},
		{"nothing there", cluster.TLSFiles{Cert: "nowhere", Key: "nowhere", CA: "nowhere"}, "no such file"},
	} {
		if _, err := c.files.Load(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	f := ca.files(t, member("m"), ca)
	f.Name = "other.nodes.example"
	if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), "peers would refuse it") {
		t.Errorf("another name: %v", err)
	}
	f.Name = "m.nodes.example"
	load(t, f)
}

// A CA is replaced by another while the nodes run: by a bundle of both, then by certificates of
// the new one, then without the old one. New connections use what the files say; those of
// members stand. The old CA is then a stranger's.
func TestCertificatesAreReplacedWhileNodesRun(t *testing.T) {
	first, second := newCA(t), newCA(t)
	type one struct {
		*node
		files cluster.TLSFiles
		set   func(*cluster.Credentials)
	}
	var nodes []one
	var join []string
	start := func(name string, ca *authority, trusted ...*authority) one {
		f := ca.files(t, member(name), trusted...)
		o := loopback(t, name, join...)
		now, set := keep(load(t, f))
		o.TLS, o.GossipKeys = now, [][]byte{oldKey}
		n := one{newNode(t, o), f, set}
		join = append(join, n.GossipAddr())
		return n
	}
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, start(name, first, first))
	}
	for _, n := range nodes {
		n.ready()
	}
	for step, change := range []struct {
		ca      *authority
		trusted []*authority
	}{{first, []*authority{first, second}}, {second, []*authority{first, second}}, {second, []*authority{second}}} {
		for _, n := range nodes {
			change.ca.write(t, n.files, member(n.opts.Name), change.trusted...)
			n.set(load(t, n.files))
		}
		// Who comes now shakes hands by what the files say.
		late := start(fmt.Sprint("late", step), change.ca, change.trusted...)
		late.want = len(join)
		late.ready()
		nodes = append(nodes, late)
	}
	old := first.files(t, member("old"), first)
	if err := shake(t, nodes[0].node, &old); err == nil {
		t.Error("a certificate of the CA that was replaced is taken")
	}
	for _, n := range nodes {
		n.broker.mu.Lock()
		if i := slices.IndexFunc(n.broker.events, func(e string) bool { return strings.HasPrefix(e, "left") }); i >= 0 {
			t.Errorf("%s: %v", n.opts.Name, n.broker.events)
		}
		n.broker.mu.Unlock()
	}
}

// The file of gossip keys.
func TestReadGossipKeys(t *testing.T) {
	a, b := base64.StdEncoding.EncodeToString(oldKey), base64.StdEncoding.EncodeToString(newKey)
	keys, err := cluster.ReadGossipKeys(strings.NewReader("# first encrypts\n" + b + "\n\n  " + a + "\r\n"))
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[0], newKey) || !bytes.Equal(keys[1], oldKey) {
		t.Errorf("%q, %v", keys, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":   {"", "no key"},
		"comments":  {"# none\n", "no key"},
		"no base64": {a + "\nhush-hush\n", "line 2: want base64"},
		"short":     {base64.StdEncoding.EncodeToString([]byte("hush")), "these are 4"},
		"twice":     {a + "\n" + a, "line 2: this key stands twice"},
		"nine":      {manyKeys(9), "at most 8"},
		"endless":   {strings.Repeat("#", 17<<10), "longer than"},
	} {
		_, err := cluster.ReadGossipKeys(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func manyKeys(n int) string {
	var lines []string
	for i := range n {
		lines = append(lines, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i)}, 16)))
	}
	return strings.Join(lines, "\n")
}

// wire is a gossip port that remembers the packets that it sends.
type wire struct {
	*memberlist.NetTransport
	mu   sync.Mutex
	sent [][]byte
}

func (w *wire) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	w.mu.Lock()
	if len(w.sent) < 1000 {
		w.sent = append(w.sent, bytes.Clone(b))
	}
	w.mu.Unlock()
	return w.NetTransport.WriteToAddress(b, a)
}

func (w *wire) WriteTo(b []byte, addr string) (time.Time, error) {
	return w.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (w *wire) packets() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// more waits until five more packets have been sent.
func (w *wire) more(t *testing.T) {
	t.Helper()
	before := len(w.packets())
	for late := time.Now().Add(30 * time.Second); len(w.packets()) < min(before+5, 1000); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("gossip has ended")
		}
	}
}

// wired has o's gossip go over a wire, which made is told of.
func wired(t *testing.T, o *cluster.Options, made func(*wire)) {
	o.Transport = func(addr string) (memberlist.Transport, error) {
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{at.Addr().String()}, BindPort: int(at.Port()),
			Logger: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		})
		if err != nil {
			t.Error(err)
			return nil, err
		}
		w := &wire{NetTransport: nt}
		made(w)
		return w, nil
	}
}

// replay sends packets to n's gossip port from another address.
func replay(t *testing.T, n *node, packets [][]byte) {
	t.Helper()
	conn, err := net.Dial("udp", n.GossipAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, p := range packets {
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

// The gossip key is replaced node by node, in three rounds, and no node is lost on the way; then packets
// of the old key are a stranger's, and so are streams (case 52).
func TestGossipKeysAreReplacedWhileNodesRun(t *testing.T) {
	var nodes []*node
	var join []string
	seen := new(strangers)
	var log *wire
	for _, name := range []string{"a", "b", "c"} {
		o := loopback(t, name, join...)
		o.GossipKeys, o.Refused = [][]byte{oldKey}, seen.refused
		o.ProbeInterval = 100 * time.Millisecond // so that a node that does not understand is soon lost
		if name == "b" {
			wired(t, &o, func(w *wire) { log = w })
		}
		n := newNode(t, o)
		nodes, join = append(nodes, n), append(join, n.GossipAddr())
	}
	for _, n := range nodes {
		n.want = 3
		n.ready()
	}
	log.more(t)
	old := log.packets()
	for _, keys := range [][][]byte{{oldKey, newKey}, {newKey, oldKey}, {newKey}} {
		for _, n := range nodes {
			if err := n.UseGossipKeys(keys); err != nil {
				t.Fatal(err)
			}
			// Each two of them understand each other in between, too: probes go on.
			log.more(t)
		}
	}
	seen.mu.Lock()
	if len(seen.why) > 0 {
		t.Errorf("refused on the way: %v", seen.why)
	}
	seen.mu.Unlock()
	replay(t, nodes[0], old)
	seen.until(t, "gossip key")
	// One that has the old key only does not get in.
	o := loopback(t, "x", join...)
	o.GossipKeys = [][]byte{oldKey}
	x := newNode(t, o)
	seen.until(t, "gossip stream")
	if n := len(x.Nodes()); n != 1 {
		t.Errorf("a node with the old key sees %d nodes", n)
	}
	for _, n := range nodes {
		n.broker.mu.Lock()
		if slices.ContainsFunc(n.broker.events, func(e string) bool { return strings.HasPrefix(e, "left") }) || len(n.broker.members) != 2 {
			t.Errorf("%s: %v", n.opts.Name, n.broker.events)
		}
		n.broker.mu.Unlock()
	}
	if err := nodes[0].UseGossipKeys(nil); err == nil {
		t.Error("gossip goes on in the clear")
	}
}

// Case 52: packets of the past, which the right key encrypted, change nothing: neither those of a
// node's earlier life, nor those of this one.
func TestReplayOfGossip(t *testing.T) {
	o := loopback(t, "a")
	o.GossipKeys = [][]byte{oldKey}
	a := newNode(t, o).ready()
	var wires []*wire
	join := a.GossipAddr()
	begin := func(start uint64) *node {
		o := loopback(t, "b", join)
		o.Start, o.GossipKeys = start, [][]byte{oldKey}
		wired(t, &o, func(w *wire) { wires = append(wires, w) })
		return newNode(t, o).ready()
	}
	first := begin(1)
	a.broker.until("b", func() bool { return len(a.broker.members) == 1 })
	first.shutdown() // among what it sends is its farewell
	a.broker.until("farewell", func() bool { return len(a.broker.members) == 0 })
	begin(2)
	a.broker.until("b again", func() bool { return len(a.broker.members) == 1 })
	a.broker.mu.Lock()
	events := len(a.broker.events)
	a.broker.mu.Unlock()
	for range 3 {
		for _, w := range wires {
			replay(t, a, w.packets())
		}
	}
	// What comes after them has been seen after them.
	a.Forward(a.peer("b"), cluster.Frame{Body: a.body(0), Reliable: true, Token: 1})
	a.broker.until("confirmation", func() bool { return len(a.broker.confirmed) == 1 })
	for range 3 { // some rounds of gossip, in which it would spread
		wires[1].more(t)
	}
	a.broker.mu.Lock()
	defer a.broker.mu.Unlock()
	if got := a.broker.events[events:]; len(got) > 0 || len(a.broker.members) != 1 {
		t.Errorf("after the replay: %v", got)
	}
}

// Case 52: strangers hold a bounded part of the ports, and a member gets in beside them.
func TestStrangersHoldLittle(t *testing.T) {
	ca := newCA(t)
	now, _ := keep(load(t, ca.files(t, member("a"), ca)))
	seen := new(strangers)
	o := loopback(t, "a")
	o.TLS, o.GossipKeys, o.Refused = now, [][]byte{oldKey}, seen.refused
	a := newNode(t, o).ready()
	silent := func(addr string, from string) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	for range 40 {
		silent(a.Nodes()[0].ClusterAddr, "127.0.0.9")
		silent(a.GossipAddr(), "127.0.0.9")
	}
	seen.until(t, "crowded")
	seen.until(t, "gossip crowded")
	bo := loopback(t, "b", a.GossipAddr())
	bnow, _ := keep(load(t, ca.files(t, member("b"), ca)))
	bo.TLS, bo.GossipKeys = bnow, [][]byte{oldKey}
	newNode(t, bo).ready()
	seen.until(t, "slow handshake")

	// A stream of gossip is not read beyond what gossip needs.
	c, err := net.Dial("tcp", a.GossipAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	head := append([]byte{244, byte(len("dunlin/"))}, "dunlin/"...) // a label
	head = append(head, 10 /* encrypted */, 0x01, 0x20, 0x00, 0x00) // and 18 MB
	_, err = c.Write(head)
	sent := 0
	for junk := make([]byte, 64<<10); err == nil && sent < 16<<20; {
		var n int
		n, err = c.Write(junk)
		sent += n
	}
	if err == nil {
		_, err = io.ReadAll(c)
		t.Errorf("%d bytes were taken: %v", sent, err)
	}
	var gone *net.OpError
	if !errors.As(err, &gone) {
		t.Error(err)
	}
}

func FuzzReadGossipKeys(f *testing.F) {
	f.Add("# keys\n" + base64.StdEncoding.EncodeToString(oldKey) + "\n" + base64.StdEncoding.EncodeToString(newKey))
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := cluster.ReadGossipKeys(strings.NewReader(text))
		if (err == nil) != (len(keys) > 0 && len(keys) <= 8) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}
