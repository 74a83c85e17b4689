package secure_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/node/listen"
	"dunlin/node/listen/secure"
)

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

func writePair(t *testing.T, dir, name string, c tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key
}

// What is new is used by who comes next; who is there stays; what is broken changes
// nothing and is told once.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	first, second := ca.server(t), ca.server(t)
	other := ca.sign(t, &x509.Certificate{DNSNames: []string{"other.example"}})
	cert, key := writePair(t, dir, "server", first)
	cert2, key2 := writePair(t, dir, "other", other)
	var log lockedBuffer
	store, err := secure.Open(secure.Files{
		Certs: []string{cert, cert2}, Keys: []string{key, key2}, MinVersion: tls.VersionTLS13,
	}, nil, slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { store.Watch(ctx, time.Millisecond) })
	t.Cleanup(func() { cancel(); watching.Wait() })

	r := &rig{ca: ca, config: store.MQTTConfig}
	r.serve(t, listen.Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
	connect := func(name string) *tls.Conn {
		conf := r.client()
		conf.ServerName = name
		c := tls.Client(r.raw(t), conf)
		must(t, c.Handshake())
		return c
	}
	shown := func(c *tls.Conn) []byte { return c.ConnectionState().PeerCertificates[0].Raw }
	echo := func(c *tls.Conn) {
		t.Helper()
		_, err := c.Write([]byte("hello"))
		must(t, err)
		_, err = io.ReadFull(c, make([]byte, 5))
		must(t, err)
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s never; log:\n%s", what, log.String())
			}
		}
	}

	old := connect("localhost")
	if !bytes.Equal(shown(old), first.Certificate[0]) || !bytes.Equal(shown(connect("other.example")), other.Certificate[0]) {
		t.Error("wrong certificate for a name")
	}
	must(t, os.WriteFile(cert, []byte("nonsense"), 0o600))
	eventually("the broken file told of", func() bool { return strings.Contains(log.String(), "not reloaded") })
	echo(connect("localhost"))
	time.Sleep(20 * time.Millisecond) // in which it is looked at again
	if n := strings.Count(log.String(), "not reloaded"); n != 1 || !strings.Contains(log.String(), cert) {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	writePair(t, dir, "server", first)
	eventually("the recovery told of", func() bool { return strings.Contains(log.String(), "those in use") })
	must(t, os.WriteFile(cert, []byte("nonsense"), 0o600))
	eventually("the same told of again", func() bool { return strings.Count(log.String(), "not reloaded") > 1 })
	writePair(t, dir, "server", second)
	eventually("the new certificate used", func() bool { return bytes.Equal(shown(connect("localhost")), second.Certificate[0]) })
	echo(old)
}

// An error names the setting, the file, and what is wrong with it.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	cert, key := writePair(t, dir, "a", ca.server(t))
	_, key2 := writePair(t, dir, "b", ca.server(t))
	empty := filepath.Join(dir, "empty")
	must(t, os.WriteFile(empty, nil, 0o600))
	for name, c := range map[string]struct {
		files         secure.Files
		setting, want string
	}{
		"right":           {secure.Files{Certs: []string{cert}, Keys: []string{key}, ClientCA: cert}, "", ""},
		"missing":         {secure.Files{Certs: []string{dir + "/none"}, Keys: []string{key}}, "cert", "no such file"},
		"missing key":     {secure.Files{Certs: []string{cert}, Keys: []string{dir + "/none"}}, "key", "no such file"},
		"another's key":   {secure.Files{Certs: []string{cert}, Keys: []string{key2}}, "cert", "does not match"},
		"empty":           {secure.Files{Certs: []string{empty}, Keys: []string{key}}, "cert", "no PEM"},
		"no certificate":  {secure.Files{Certs: []string{cert}, Keys: []string{key}, ClientCA: key}, "client-ca", "no certificate"},
		"a directory too": {secure.Files{Certs: []string{cert}, Keys: []string{key}, ClientCA: dir}, "client-ca", "is a directory"},
	} {
		err := c.files.Check()
		var e *secure.FileError
		switch {
		case c.want == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &e) || e.Setting != c.setting || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", name, err)
		}
	}
}
