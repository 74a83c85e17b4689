package secure

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"dunlin/node/listen"
)

// feeder drives a layer as a loop does, with pieces and rooms of sizes of its own.
type feeder struct {
	l     listen.Layer
	woken chan struct{}
	sizes []byte
	at    int
	kept  []byte
	above []byte
}

// size is the next of the sizes, scaled so that small ones and large ones come.
func (d *feeder) size() int {
	if len(d.sizes) == 0 {
		return 1 << 12
	}
	s := int(d.sizes[d.at%len(d.sizes)])
	d.at++
	return 1 + s*s/4
}

// feed has the layer decode until it wants news, and returns its replies.
func (d *feeder) feed(b []byte) (reply []byte, state listen.State, err error) {
	for first := true; ; first = false {
		f := listen.Flow{Src: append(bytes.Clone(d.kept), b...), Dst: make([]byte, 0, d.size())}
		b = nil
		state, err = d.l.Decode(&f)
		d.kept = bytes.Clone(f.Src)
		d.above = append(d.above, f.Dst...)
		reply = append(reply, f.Reply...)
		if err != nil || !f.More {
			return reply, state, err
		}
		if !first && len(f.Dst) == 0 && len(f.Reply) == 0 && len(f.Src) == 0 {
			return reply, state, io.ErrNoProgress
		}
	}
}

// FuzzFragments: in whatever pieces the peer's bytes come, and into however little
// room, what is above is what the peer wrote.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{}, true)
	f.Add([]byte{0}, false)
	f.Add([]byte{0, 255, 3, 90, 1, 1, 200}, true)
	f.Add([]byte{9, 9, 255}, false)
	cert := ownCertificate(f)
	want := make([]byte, 12_000)
	_, _ = rand.Read(want)
	f.Fuzz(func(t *testing.T, sizes []byte, latest bool) {
		conf := &tls.Config{Certificates: []tls.Certificate{cert}}
		if !latest {
			conf.MaxVersion = tls.VersionTLS12
		}
		p := New(func() *tls.Config { return conf })
		defer p.Wait()
		d := &feeder{woken: make(chan struct{}, 1), sizes: sizes}
		d.l = p.NewLayer(listen.Info{}, func() {
			select {
			case d.woken <- struct{}{}:
			default:
			}
		})
		defer d.l.Close()
		near, far := net.Pipe()
		defer near.Close()
		done := make(chan error, 1)
		go func() {
			defer far.Close()
			c := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
			err := c.Handshake()
			for k := 0; err == nil && k < len(want); k += 4000 {
				_, err = c.Write(want[k:min(k+4000, len(want))])
			}
			done <- err
			_, _ = io.Copy(io.Discard, c)
		}()
		come := make(chan []byte)
		go func() {
			defer close(come)
			b := make([]byte, 1<<16)
			for {
				n, err := near.Read(b)
				if err != nil {
					return
				}
				for rest := bytes.Clone(b[:n]); len(rest) > 0; {
					k := min(d.size0(n), len(rest))
					come <- rest[:k]
					rest = rest[k:]
				}
			}
		}()
		defer func() {
			near.Close()
			for range come {
			}
		}()
		for len(d.above) < len(want) {
			var b []byte
			select {
			case b = <-come:
			case <-d.woken:
			case <-time.After(10 * time.Second):
				t.Fatalf("%d of %d bytes came", len(d.above), len(want))
			}
			reply, _, err := d.feed(b)
			if err != nil {
				t.Fatal(err)
			}
			if len(reply) > 0 {
				if _, err := near.Write(reply); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.above, want) {
			t.Fatal("bytes differ")
		}
	})
}

// size0 is a size of pieces that depends on the sizes and on n alone.
func (d *feeder) size0(n int) int {
	if len(d.sizes) == 0 {
		return n
	}
	s := int(d.sizes[n%len(d.sizes)])
	return 1 + s*s/4
}

func ownCertificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// FuzzParseLists reads files of revoked certificates: each is refused, or has lists.
func FuzzParseLists(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN X509 CRL-----\n"))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := parseLists(b)
		if (err == nil) != (len(lists) > 0) {
			t.Fatalf("%d lists, %v", len(lists), err)
		}
		for _, x := range lists {
			newList(x)
		}
	})
}
