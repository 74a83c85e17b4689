package conformance

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"dunlin/e2e/harness"
)

// below makes an authority that this one has signed.
func (a *authority) below(name string) *authority {
	a.t.Helper()
	a.sign(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	pair, err := tls.LoadX509KeyPair(a.pem(name), a.keyOf(name))
	a.must(err)
	return &authority{t: a.t, dir: a.dir, name: name, cert: pair.Leaf, key: pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// device makes a client's certificate, with the authority's behind it.
func (a *authority) device(name string) {
	a.t.Helper()
	a.sign(name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	own, err := os.ReadFile(a.pem(name))
	a.must(err)
	above, err := os.ReadFile(a.pem(a.name))
	a.must(err)
	a.must(os.WriteFile(a.pem(name), slices.Concat(own, above), 0o600))
}

// list is the authority's list of revoked certificates, good for so long, in DER.
func (a *authority) list(good time.Duration, revoked ...string) []byte {
	a.t.Helper()
	read := func(name string) *x509.Certificate {
		text, err := os.ReadFile(a.pem(name))
		a.must(err)
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		a.must(err)
		return cert
	}
	l := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(good)}
	for _, name := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: read(name).SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, read(a.name), a.key)
	a.must(err)
	return der
}

// Who is on a list of revoked certificates, or was signed by an authority that is, gets
// in no more and is put out, TLS or WebSocket; all others stay. Files that cannot be used
// change nothing, and where a list is out of date nobody new of its issuer's gets in.
func TestRevokedCertificates(t *testing.T) {
	t.Parallel()
	root := newAuthority(t, "ca")
	mid, out := root.below("mid"), root.below("out")
	mid.device("good")
	mid.device("bad")
	out.device("cousin")
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	root.must(os.WriteFile(rules, []byte("rules: [{allow: all, users: [\"*\"], topics: [\"#\"]}]"), 0o600))
	inPEM, inDER := filepath.Join(root.dir, "lists.pem"), filepath.Join(root.dir, "root.crl")
	write := func(ofRoot []byte, others ...[]byte) {
		t.Helper()
		var text []byte
		for _, der := range others {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
		}
		root.must(os.WriteFile(inPEM, text, 0o600))
		root.must(os.WriteFile(inDER, ofRoot, 0o600))
	}
	write(root.list(time.Hour), mid.list(time.Hour), out.list(time.Hour))
	n := secured(t, root, fmt.Sprintf("  client-ca: %s\n  client-auth: require\n  crl-file: [%s, %s]\nauth: {certificate: common-name}\nacl: {file: %s}\n",
		root.pem("ca"), inPEM, inDER, rules))
	ways := []string{"ssl://" + n.MQTTS, "wss://" + n.WSS + "/mqtt"}

	lost := make(chan string, 100)
	connect := func(way, name, id string) (paho3.Client, error) {
		t.Helper()
		conf := root.trust()
		pair, err := tls.LoadX509KeyPair(root.pem(name), root.keyOf(name))
		root.must(err)
		conf.Certificates = []tls.Certificate{pair}
		c := paho3.NewClient(options3(id).SetTLSConfig(conf).AddBroker(way).SetAutoReconnect(false).SetConnectRetry(false).
			SetWill("gone/"+id, "will", 1, false).
			SetConnectionLostHandler(func(paho3.Client, error) { lost <- id }))
		token := c.Connect()
		if !token.WaitTimeout(patience) {
			return c, errors.New("no answer")
		}
		t.Cleanup(func() { c.Disconnect(0) })
		return c, token.Error()
	}
	connected := make(map[string]paho3.Client)
	for k, way := range ways {
		for _, name := range []string{"good", "bad", "cousin"} {
			id := fmt.Sprintf("%s%d", name, k)
			c, err := connect(way, name, id)
			if err != nil {
				t.Fatalf("%s at %s: %v", name, way, err)
			}
			connected[id] = c
		}
	}
	wills := subscribe3(t, connected["good0"], "gone/#", 1)
	alive := func() {
		t.Helper()
		for k := range ways {
			done3(t, connected[fmt.Sprintf("good%d", k)].Publish("x", 1, false, "still here"))
		}
	}
	refused := func(name string) error {
		for _, way := range ways {
			if c, err := connect(way, name, "again"); err == nil {
				c.Disconnect(0)
				return fmt.Errorf("%s gets in at %s", name, way)
			}
		}
		return nil
	}

	write(root.list(time.Hour, "out"), mid.list(time.Hour, "bad"), out.list(time.Hour))
	n.Hangup()
	want := []string{"bad0", "bad1", "cousin0", "cousin1"}
	var gone, fired []string
	for range want {
		select {
		case id := <-lost:
			gone = append(gone, id)
		case <-time.After(patience):
			t.Fatalf("put out: %q; log: %s", gone, n.Log())
		}
		fired = append(fired, strings.TrimPrefix(take(t, wills).Topic(), "gone/"))
	}
	slices.Sort(gone)
	slices.Sort(fired)
	if !slices.Equal(gone, want) || !slices.Equal(fired, want) {
		t.Errorf("put out: %q, wills of %q", gone, fired)
	}
	alive()
	stillSo := func() {
		t.Helper()
		for _, name := range []string{"bad", "cousin"} {
			if err := refused(name); err != nil {
				t.Error(err)
			}
		}
	}
	stillSo()
	for _, way := range ways {
		if c, err := connect(way, "good", "again"); err != nil {
			t.Errorf("at %s: %v", way, err)
		} else {
			c.Disconnect(0)
		}
	}

	root.must(os.WriteFile(inPEM, []byte("nonsense"), 0o600))
	n.Hangup()
	harness.Eventually(t, "the wrong file told of", func() error {
		if !strings.Contains(n.Log(), "certificates not reloaded") || !strings.Contains(n.Log(), "tls.crl-file") {
			return errors.New(n.Log())
		}
		return nil
	})
	stillSo()
	alive()

	write(root.list(time.Hour, "out"), mid.list(-time.Minute), out.list(time.Hour))
	n.Hangup()
	harness.Eventually(t, "nobody new with a list out of date", func() error { return refused("good") })
	alive()
	harness.Eventually(t, "counted", func() error { // what loops count is shown a little later
		if m := n.Metrics(); m["dunlin_certificates_revoked_total"] != 4 || m["dunlin_tls_crl_expiry_seconds"] > 0 {
			return fmt.Errorf("%v put out, lists are good for %v s", m["dunlin_certificates_revoked_total"], m["dunlin_tls_crl_expiry_seconds"])
		}
		return nil
	})
	select {
	case id := <-lost:
		t.Errorf("%s was put out too", id)
	default:
	}
}
