package secure_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/node/listen"
	"dunlin/node/listen/secure"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.key, a.cert = nil, nil
	c := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) server(t testing.TB) tls.Certificate {
	return a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

func (a *authority) client(t testing.TB) tls.Certificate {
	return a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "a client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// handler echoes, and tells what it hears.
type handler struct {
	l      listen.Loop
	opened chan listen.Info
	closed chan error
	after  func(h *handler, id listen.ID, b []byte) // in place of the echo
}

func (h *handler) Open(_ listen.ID, info listen.Info) bool {
	if h.opened != nil {
		h.opened <- info
	}
	return true
}

func (h *handler) Receive(id listen.ID, b []byte) (int, int) {
	if h.after != nil {
		h.after(h, id, b)
	} else {
		h.l.End(id, append(h.l.Begin(id), b...))
	}
	return len(b), 0
}

func (h *handler) Writable(listen.ID) {}
func (h *handler) Idle(listen.ID)     {}
func (h *handler) Closed(_ listen.ID, err error) {
	if h.closed != nil {
		h.closed <- err
	}
}
func (h *handler) Mail(any) {}
func (h *handler) Turn()    {}
func (h *handler) Tick()    {}

// rig is loops with a TLS listener.
type rig struct {
	*secure.Protocol
	loops *listen.Loops
	addr  string
	ca    *authority
	conf  *tls.Config
	base  handler

	config func() *tls.Config // in place of conf
}

// drivers runs a test with each driver; at its end nothing may be left.
func drivers(t *testing.T, test func(t *testing.T, r *rig), change ...func(r *rig, o *listen.Options)) {
	for _, portable := range []bool{false, true} {
		name := map[bool]string{false: "epoll", true: "goroutines"}[portable]
		if !portable && runtime.GOOS != "linux" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := &rig{ca: newAuthority(t), base: handler{opened: make(chan listen.Info, 100), closed: make(chan error, 100)}}
			r.conf = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{r.ca.server(t)}, NextProtos: []string{"mqtt"}}
			o := listen.Options{Loops: 2, Portable: portable, Logger: slog.New(slog.DiscardHandler)}
			for _, c := range change {
				c(r, &o)
			}
			r.serve(t, o)
			test(t, r)
		})
	}
}

func (r *rig) serve(t testing.TB, o listen.Options) {
	before := runtime.NumGoroutine()
	if r.config == nil {
		r.config = func() *tls.Config { return r.conf }
	}
	r.Protocol = secure.New(r.config)
	var err error
	r.loops, err = listen.New(o, func(l listen.Loop) listen.Handler {
		h := r.base
		h.l = l
		return &h
	})
	must(t, err)
	addr, err := r.loops.Listen("mqtts", "127.0.0.1:0", r.Protocol)
	must(t, err)
	r.addr = addr.String()
	r.loops.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, r.loops.Shutdown(ctx))
		r.Wait()
		if c := r.Counts(); c.Running != 0 || c.Waiting != 0 {
			t.Errorf("handshakes after the end: %+v", c)
		}
		for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Errorf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
				return
			}
		}
	})
}

// expect waits until so many handshakes have failed for a reason.
func (r *rig) expect(t *testing.T, reason string, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); r.Counts().Failed[reason] != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("want %d %s, counts %+v", n, reason, r.Counts())
			return
		}
	}
}

func (r *rig) raw(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

func (r *rig) client() *tls.Config {
	return &tls.Config{RootCAs: r.ca.pool, ServerName: "localhost", NextProtos: []string{"mqtt"}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// pieces writes to the connection below in small pieces.
type pieces struct {
	net.Conn
	most int
	r    *mathrand.Rand
}

func (p pieces) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(1+p.r.IntN(p.most), len(rest))
		if _, err := p.Conn.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// Each version agrees on ALPN, and in whatever pieces it sends, the same bytes come
// back; sizes beyond the socket's buffers are held back and come too.
func TestEcho(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		var wg sync.WaitGroup
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, most := range []int{1, 100, 5000, 1 << 20} {
				wg.Go(func() {
					rng := mathrand.New(mathrand.NewPCG(uint64(version), uint64(most)))
					conf := r.client()
					conf.MinVersion, conf.MaxVersion = version, version
					c := tls.Client(pieces{r.raw(t), most, rng}, conf)
					if err := c.Handshake(); err != nil {
						t.Error(err)
						return
					}
					if s := c.ConnectionState(); s.NegotiatedProtocol != "mqtt" || s.Version != version {
						t.Errorf("agreed on %q, %x", s.NegotiatedProtocol, s.Version)
					}
					sent := make([]byte, min(4<<20, 20_000*most))
					for i := range sent {
						sent[i] = byte(rng.Uint32())
					}
					go func() {
						for b := sent; len(b) > 0; {
							n := min(1+rng.IntN(50_000), len(b))
							if _, err := c.Write(b[:n]); err != nil {
								t.Error(err)
								return
							}
							b = b[n:]
						}
					}()
					got := make([]byte, len(sent))
					if _, err := io.ReadFull(c, got); err != nil {
						t.Error(err)
					} else if !bytes.Equal(got, sent) {
						t.Error("echo differs")
					}
				})
			}
		}
		wg.Wait()
		if c := r.Counts(); c.Done != 8 {
			t.Errorf("counts %+v", c)
		}
	}, func(r *rig, o *listen.Options) { r.base.opened = nil; r.base.closed = nil })
}

// The Handler is told of versions and certificates, and of nobody without a right one.
func TestClientCertificates(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		stranger := newAuthority(t)
		for name, tc := range map[string]struct {
			certs  []tls.Certificate
			reason string
		}{
			"right":    {[]tls.Certificate{r.ca.client(t)}, ""},
			"none":     {nil, "certificate"},
			"stranger": {[]tls.Certificate{stranger.client(t)}, "certificate"},
			"server's": {[]tls.Certificate{r.ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "s"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})}, "certificate"},
		} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				conf := r.client()
				conf.MinVersion, conf.MaxVersion = version, version
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if len(tc.certs) == 0 {
						return &tls.Certificate{}, nil
					}
					return &tc.certs[0], nil
				}
				before := r.Counts()
				c := tls.Client(r.raw(t), conf)
				err := c.Handshake()
				if err == nil {
					_, _ = c.Write([]byte("hello"))
					_, err = io.ReadFull(c, make([]byte, 5))
				}
				if tc.reason == "" {
					must(t, err)
					info := await(t, r.base.opened)
					if info.TLS == nil || info.TLS.Version != version || len(info.TLS.VerifiedChains) == 0 ||
						info.TLS.PeerCertificates[0].Subject.CommonName != "a client" {
						t.Errorf("%s: the handler is told of %+v", name, info.TLS)
					}
					must(t, c.Close())
					must(t, await(t, r.base.closed))
					continue
				}
				if err == nil || !strings.Contains(err.Error(), "tls: ") {
					t.Errorf("%s, version %x: %v", name, version, err)
				}
				r.expect(t, tc.reason, before.Failed[tc.reason]+1)
			}
		}
		if n := len(r.base.opened); n != 0 {
			t.Errorf("%d connections opened", n)
		}
	}, func(r *rig, _ *listen.Options) {
		r.conf.ClientAuth, r.conf.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.pool
	})
}

// Who does not get through costs neither the Handler nor, for long, the node anything.
func TestBadHandshakes(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		old := r.client()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if err := tls.Client(r.raw(t), old).Handshake(); err == nil {
			t.Error("an old version was agreed on")
		}
		distrustful := r.client()
		distrustful.RootCAs = x509.NewCertPool()
		if err := tls.Client(r.raw(t), distrustful).Handshake(); err == nil {
			t.Error("a certificate of nobody's was trusted")
		}
		garbage := []byte{22, 3, 1, 0, 5, 1, 2, 3, 4, 5}
		for name, b := range map[string][]byte{
			"mqtt":    {0x10, 0x0c, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 0, 0, 0},
			"http":    []byte("GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n"),
			"garbage": append(garbage, bytes.Repeat([]byte("x"), 100)...),
			"long":    append([]byte{22, 3, 1, 0xff, 0xff}, bytes.Repeat([]byte("x"), 100_000)...),
		} {
			c := r.raw(t)
			go func() { _, _ = c.Write(b) }()
			if got, _ := io.ReadAll(c); len(got) > 7 {
				t.Errorf("%s: answer %q", name, got)
			}
		}
		silent, half := r.raw(t), r.raw(t)
		_, err := half.Write([]byte{22, 3, 1})
		must(t, err)
		hello := r.raw(t)
		sends := &firstWrite{Conn: hello, done: make(chan struct{}), over: t.Context().Done()}
		go func() { _ = tls.Client(sends, r.client()).Handshake() }()
		await(t, sends.done)
		for _, c := range []net.Conn{silent, half} {
			if got, err := io.ReadAll(c); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") || len(got) > 0 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
		_, _ = io.Copy(io.Discard, hello)
		want := map[string]uint64{"version": 1, "not_tls": 3, "other": 1, "abandoned": 3, "peer": 1}
		for reason, n := range want {
			r.expect(t, reason, n)
		}
		c := r.Counts()
		if len(r.base.opened) != 0 || c.Done != 0 || r.loops.Stats().OpenTimeouts < 2 {
			t.Errorf("%d opened, %+v, %+v", len(r.base.opened), c, r.loops.Stats())
		}
	}, func(_ *rig, o *listen.Options) { o.OpenTimeout = time.Second })
}

// firstWrite lets one write through and then takes no part any more.
type firstWrite struct {
	net.Conn
	done chan struct{}
	over <-chan struct{}
	once sync.Once
}

func (f *firstWrite) Write(b []byte) (int, error) {
	n, err := 0, error(nil)
	f.once.Do(func() { n, err = f.Conn.Write(b); close(f.done) })
	return n, err
}

func (f *firstWrite) Read([]byte) (int, error) { <-f.over; return 0, io.EOF }

// Goodbyes go both ways: the peer sees close_notify after the last words.
func TestGoodbye(t *testing.T) {
	last := bytes.Repeat([]byte("bye"), 100_000)
	drivers(t, func(t *testing.T, r *rig) {
		c := tls.Client(r.raw(t), r.client())
		_, err := c.Write([]byte("what else?"))
		must(t, err)
		got, err := io.ReadAll(c) // io.ErrUnexpectedEOF without a close_notify
		must(t, err)
		if !bytes.Equal(got, last) {
			t.Errorf("%d of %d bytes", len(got), len(last))
		}
		must(t, c.Close())
		must(t, await(t, r.base.closed))
		p := tls.Client(r.raw(t), r.client())
		must(t, p.Handshake())
		await(t, r.base.opened)
		await(t, r.base.opened)
		must(t, p.CloseWrite())
		got, err = io.ReadAll(p)
		if err != nil || len(got) > 0 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		must(t, await(t, r.base.closed))
	}, func(r *rig, _ *listen.Options) {
		r.base.after = func(h *handler, id listen.ID, _ []byte) {
			h.l.End(id, append(h.l.Begin(id), last...))
			h.l.Close(id)
		}
	})
}

// What comes with the end of the handshake, and the end of the stream right behind it,
// is received.
func TestAllAtOnce(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		for range 20 {
			raw := r.raw(t)
			held := &holding{Conn: raw}
			c := tls.Client(held, r.client())
			must(t, c.Handshake()) // its last flight is held
			_, err := c.Write(bytes.Repeat([]byte("x"), 100_000))
			must(t, err)
			_, err = raw.Write(held.b)
			must(t, err)
			must(t, raw.(*net.TCPConn).CloseWrite())
			got := 0
			for got < 100_000 {
				got += await(t, received)
			}
			await(t, r.base.opened)
			must(t, await(t, r.base.closed))
		}
	}, func(r *rig, _ *listen.Options) {
		r.base.after = func(_ *handler, _ listen.ID, b []byte) { received <- len(b) }
	})
}

var received = make(chan int, 1000)

// holding lets the first write through and gathers the others.
type holding struct {
	net.Conn
	writes int
	b      []byte
}

func (h *holding) Write(b []byte) (int, error) {
	if h.writes++; h.writes == 1 {
		return h.Conn.Write(b)
	}
	h.b = append(h.b, b...)
	return len(b), nil
}

// A session ticket spares a second handshake most of its work.
func TestResumption(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		conf := r.client()
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for k := range 2 {
			c := tls.Client(r.raw(t), conf)
			_, err := c.Write([]byte("hello"))
			must(t, err)
			_, err = io.ReadFull(c, make([]byte, 5))
			must(t, err)
			if resumed := c.ConnectionState().DidResume; resumed != (k == 1) {
				t.Errorf("connection %d resumed: %v", k, resumed)
			}
			must(t, c.Close())
		}
		if c := r.Counts(); c.Done != 2 || c.Resumed != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}

// Those that begin and do not go on keep nobody out for long.
func TestHandshakeFlood(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		r.SetMost(2)
		for range 4 {
			sends := &firstWrite{Conn: r.raw(t), done: make(chan struct{}), over: t.Context().Done()}
			go func() { _ = tls.Client(sends, r.client()).Handshake() }()
			await(t, sends.done)
		}
		for deadline := time.Now().Add(20 * time.Second); r.Counts().Waiting < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("counts %+v", r.Counts())
			}
		}
		if c := r.Counts(); c.Running != 2 {
			t.Errorf("%d handshakes run", c.Running)
		}
		c := tls.Client(r.raw(t), r.client())
		must(t, c.Handshake())
		if n := r.Counts().Failed["shed"]; n == 0 {
			t.Error("nobody has made room")
		}
	}, func(_ *rig, o *listen.Options) { o.OpenTimeout = time.Minute })
}

// OpenSSL asks for new keys of both sides, and goes on under them.
func TestKeyUpdate(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("left out for want of openssl (Debian package openssl)")
	}
	drivers(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, openssl, "s_client", "-connect", r.addr, "-tls1_3")
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		cmd.Stderr = cmd.Stdout
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for _, step := range [][2]string{{"before", "before"}, {"K", "KEYUPDATE"}, {"between", "between"}, {"k", "KEYUPDATE"}, {"after", "after"}} {
			_, err := io.WriteString(in, step[0]+"\n")
			must(t, err)
			for lines.Scan() && lines.Text() != step[1] {
			}
			if lines.Text() != step[1] {
				t.Fatalf("no %q after %q", step[1], step[0])
			}
		}
		must(t, in.Close())
		_ = cmd.Wait()
		must(t, await(t, r.base.closed))
	})
}

// However many handshakes run, no more compute at a time than there are processors.
func TestHandshakesTakeTurns(t *testing.T) {
	var computing, most atomic.Int32
	gate := make(chan struct{})
	processors := 0
	drivers(t, func(t *testing.T, r *rig) {
		var all sync.WaitGroup
		for range processors + 8 {
			c := r.raw(t)
			all.Go(func() {
				if err := tls.Client(c, r.client()).Handshake(); err != nil {
					t.Error(err)
				}
			})
		}
		for r.Counts().Running < processors+8 || int(computing.Load()) < processors {
			time.Sleep(time.Millisecond)
		}
		for range 1000 {
			runtime.Gosched()
		}
		close(gate)
		all.Wait()
		if n := int(most.Load()); n != processors {
			t.Errorf("%d computed at a time, on %d processors", n, processors)
		}
	}, func(r *rig, _ *listen.Options) {
		processors, gate = runtime.GOMAXPROCS(0), make(chan struct{})
		most.Store(0)
		r.conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := computing.Add(1)
			defer computing.Add(-1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			<-gate
			return nil, nil
		}
	})
}
