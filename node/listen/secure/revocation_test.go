package secure_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/node/listen"
	"dunlin/node/listen/secure"
)

// below is an authority that this one has signed.
func (a *authority) below(t testing.TB, name string) *authority {
	t.Helper()
	c := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	return &authority{cert: c.Leaf, key: c.PrivateKey.(*ecdsa.PrivateKey)}
}

// list is the authority's list of revoked certificates, from and until these hours from
// now, in DER.
func (a *authority) list(t testing.TB, from, until int, revoked ...*x509.Certificate) []byte {
	t.Helper()
	return a.listWith(t, &x509.RevocationList{ThisUpdate: inHours(from), NextUpdate: inHours(until)}, revoked...)
}

func inHours(n int) time.Time { return time.Now().Add(time.Duration(n) * time.Hour) }

func (a *authority) listWith(t testing.TB, l *x509.RevocationList, revoked ...*x509.Certificate) []byte {
	t.Helper()
	l.Number = big.NewInt(1)
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	must(t, err)
	return der
}

func writeBlocks(t testing.TB, path, kind string, ders ...[]byte) {
	t.Helper()
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	must(t, os.WriteFile(path, text, 0o600))
}

// A certificate is good if no issuer on the way to the authority has revoked it, and each
// has a list in force that could say so.
func TestRevocation(t *testing.T) {
	root := newAuthority(t)
	sub := root.below(t, "sub")
	namesake := newAuthority(t).below(t, "sub")
	client := sub.client(t)
	client.Certificate = append(client.Certificate, sub.cert.Raw)
	leaf := client.Leaf

	dir := t.TempDir()
	cert, key := writePair(t, dir, "server", root.server(t))
	one, both := filepath.Join(dir, "root.pem"), filepath.Join(dir, "both.pem")
	writeBlocks(t, one, "CERTIFICATE", root.cert.Raw)
	writeBlocks(t, both, "CERTIFICATE", sub.cert.Raw, root.cert.Raw)
	lists := filepath.Join(dir, "lists.pem")

	var now atomic.Pointer[secure.Store]
	r := &rig{ca: root, config: func() *tls.Config { return now.Load().MQTTConfig() }}
	r.serve(t, listen.Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
	comes := func(certs ...tls.Certificate) error {
		conf := r.client()
		conf.Certificates = certs
		c := tls.Client(r.raw(t), conf)
		if err := c.Handshake(); err != nil {
			return err
		}
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}

	failed := map[string]uint64{}
	ofRoot, ofSub := root.list(t, -1, 1), sub.list(t, -1, 1)
	for _, c := range []struct {
		name    string
		lists   [][]byte
		ca      string
		lenient bool
		refused string // for this reason, if at all
		warns   bool
	}{
		{name: "nobody is revoked", lists: [][]byte{ofRoot, ofSub}},
		{name: "the client is", lists: [][]byte{ofRoot, sub.list(t, -1, 1, sub.client(t).Leaf, leaf)}, refused: "revoked"},
		{name: "another is", lists: [][]byte{ofRoot, sub.list(t, -1, 1, sub.client(t).Leaf)}},
		{name: "another issuer's of that number is", lists: [][]byte{root.list(t, -1, 1, leaf), ofSub}},
		{name: "its issuer is", lists: [][]byte{root.list(t, -1, 1, sub.cert), ofSub}, refused: "revoked"},
		{name: "its issuer is, and is trusted too", lists: [][]byte{root.list(t, -1, 1, sub.cert), ofSub}, ca: both, refused: "revoked"},
		{name: "nobody is, both are trusted", lists: [][]byte{ofRoot, ofSub}, ca: both},
		{name: "no list of the root", lists: [][]byte{ofSub}, refused: "unlisted", warns: true},
		{name: "no list of the issuer", lists: [][]byte{ofRoot}, refused: "unlisted", warns: true},
		{name: "no list of the issuer, lenient", lists: [][]byte{ofRoot}, lenient: true, warns: true},
		{name: "a list is over", lists: [][]byte{ofRoot, sub.list(t, -2, -1)}, refused: "unlisted", warns: true},
		{name: "a list is over, lenient", lists: [][]byte{ofRoot, sub.list(t, -2, -1)}, lenient: true, warns: true},
		{name: "on a list that is over", lists: [][]byte{ofRoot, sub.list(t, -2, -1, leaf)}, refused: "revoked", warns: true},
		{name: "on a list that is over, lenient", lists: [][]byte{ofRoot, sub.list(t, -2, -1, leaf)}, lenient: true, refused: "revoked", warns: true},
		{name: "a list is for later", lists: [][]byte{ofRoot, sub.list(t, 1, 2)}, refused: "unlisted", warns: true},
		{name: "one of two lists is over", lists: [][]byte{ofRoot, sub.list(t, -2, -1), ofSub}, warns: true},
		{name: "a namesake's list", lists: [][]byte{ofRoot, namesake.list(t, -1, 1)}, refused: "unlisted", warns: true},
		{name: "on a namesake's list", lists: [][]byte{ofRoot, ofSub, namesake.list(t, -1, 1, leaf)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			writeBlocks(t, lists, "X509 CRL", c.lists...)
			if c.ca == "" {
				c.ca = one
			}
			var log lockedBuffer
			s, err := secure.Open(secure.Files{
				Certs: []string{cert}, Keys: []string{key}, ClientCA: c.ca, ClientAuth: tls.VerifyClientCertIfGiven,
				CRLs: []string{lists}, Unlisted: c.lenient, MinVersion: tls.VersionTLS12,
			}, nil, slog.New(slog.NewTextHandler(&log, nil)))
			must(t, err)
			now.Store(s)
			for range 2 {
				if err := comes(client); (err == nil) != (c.refused == "") {
					t.Errorf("who comes is told: %v", err)
				}
				if c.refused != "" {
					failed[c.refused]++
					r.expect(t, c.refused, failed[c.refused])
				}
			}
			must(t, comes()) // nobody has revoked what is not there
			if n := strings.Count(log.String(), "level=WARN"); n > 1 || (n > 0) != c.warns {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// Lists may stand in several files, in PEM or DER. What is not a complete list by its
// issuer is none, and an error names its file.
func TestListFiles(t *testing.T) {
	root, stranger := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	cert, key := writePair(t, dir, "server", root.server(t))
	ca := filepath.Join(dir, "ca.pem")
	writeBlocks(t, ca, "CERTIFICATE", root.cert.Raw)
	path := filepath.Join(dir, "list")
	files := secure.Files{Certs: []string{cert}, Keys: []string{key}, ClientCA: ca, CRLs: []string{path, path}, ClientAuth: tls.RequireAndVerifyClientCert}
	good := root.list(t, -1, 1, root.client(t).Leaf)
	partial := root.listWith(t, &x509.RevocationList{
		ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x03, 0x81, 0x01, 0xff}}},
	})
	indirect := root.listWith(t, &x509.RevocationList{
		ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{
			SerialNumber: big.NewInt(7), RevocationTime: time.Now(),
			ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0x00}}},
		}},
	})
	asPEM := func(kind string, ders ...[]byte) (text []byte) {
		for _, der := range ders {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		return text
	}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"DER":                {good, ""},
		"PEM":                {asPEM("X509 CRL", good), ""},
		"two, with text":     {slices.Concat([]byte("ours:\n"), asPEM("X509 CRL", good, good)), ""},
		"nothing":            {nil, "no list"},
		"nonsense":           {[]byte("nonsense"), "no list"},
		"DER, cut off":       {good[:len(good)-1], "no list"},
		"PEM, cut off":       {bytes.TrimSuffix(asPEM("X509 CRL", good, good), []byte("-----END X509 CRL-----\n")), "cut off"},
		"PEM, damaged":       {asPEM("X509 CRL", good[:len(good)-1]), "x509"},
		"a certificate":      {asPEM("CERTIFICATE", root.cert.Raw), "want \"X509 CRL\""},
		"a stranger's":       {stranger.list(t, -1, 1), "not its issuer's"},
		"of a part":          {partial, "complete lists"},
		"of others' as well": {asPEM("X509 CRL", good, indirect), "complete lists"},
	} {
		must(t, os.WriteFile(path, c.content, 0o600))
		err := files.Check()
		var e *secure.FileError
		switch {
		case c.want == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &e) || e.Setting != "crl-file" || e.Path != path || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", name, err)
		}
	}
	files.CRLs = []string{path, dir + "/none"}
	must(t, os.WriteFile(path, good, 0o600))
	var e *secure.FileError
	if err := files.Check(); !errors.As(err, &e) || e.Setting != "crl-file" || e.Path != dir+"/none" {
		t.Errorf("one is missing: %v", err)
	}
}

// Each time that lists were read it is told whom they withdraw, after nobody of these
// gets in any more; lists that cannot be used change nothing.
func TestWhoIsWithdrawn(t *testing.T) {
	root := newAuthority(t)
	client := root.client(t).Leaf
	chains := [][]*x509.Certificate{{client, root.cert}}
	dir := t.TempDir()
	cert, key := writePair(t, dir, "server", root.server(t))
	ca, path := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "list")
	writeBlocks(t, ca, "CERTIFICATE", root.cert.Raw)
	must(t, os.WriteFile(path, root.list(t, -1, 1), 0o600))
	said := make(chan bool, 9)
	s, err := secure.Open(secure.Files{
		Certs: []string{cert}, Keys: []string{key}, ClientCA: ca, CRLs: []string{path}, ClientAuth: tls.RequireAndVerifyClientCert,
	}, func(withdrawn func([][]*x509.Certificate) bool) { said <- withdrawn(chains) }, slog.New(slog.DiscardHandler))
	must(t, err)
	done := make(chan struct{})
	go func() { defer close(done); s.Watch(t.Context(), time.Millisecond) }()
	t.Cleanup(func() { <-done })
	if <-said || s.Withdrawn(chains) || s.Withdrawn(nil) {
		t.Error("withdrawn before it is on a list")
	}
	must(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	must(t, os.WriteFile(path, root.list(t, -1, 1, client), 0o600))
	if !<-said || !s.Withdrawn(chains) || s.Withdrawn(nil) {
		t.Error("not withdrawn by the list")
	}
	if until := time.Until(s.ListsExpiry()); until < 0 || until > time.Hour {
		t.Errorf("the list is good for %v", until)
	}
}
