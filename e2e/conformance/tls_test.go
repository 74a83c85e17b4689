package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"dunlin/e2e/harness"
)

// authority makes certificates as PEM files of a directory.
type authority struct {
	t    *testing.T
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir(), name: name}
	a.sign(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	return a
}

// sign writes name.pem and name.key. The first certificate is the authority's own.
func (a *authority) sign(name string, c *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	c.Subject, c.SerialNumber = pkix.Name{CommonName: name}, big.NewInt(time.Now().UnixNano())
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	a.must(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.pem(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(a.keyOf(name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// trust is a client's configuration that takes the authority's word.
func (a *authority) trust() *tls.Config {
	a.t.Helper()
	text, err := os.ReadFile(a.pem("ca"))
	a.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: pool}
}

func (a *authority) pem(name string) string   { return filepath.Join(a.dir, name+".pem") }
func (a *authority) keyOf(name string) string { return filepath.Join(a.dir, name+".key") }

// secured starts a node with TLS whose certificate is good for its address.
func secured(t *testing.T, a *authority, more string) *harness.Node {
	a.sign("server", &x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: loopbacks()})
	c := harness.Start(t, harness.Options{TLS: true, WS: true, Config: fmt.Sprintf("tls:\n  cert: %s\n  key: %s\n%s", a.pem("server"), a.keyOf("server"), more)})
	return c.Nodes[0]
}

// loopbacks are the addresses that the harness may give a node of this process.
func loopbacks() (ips []net.IP) {
	pid := os.Getpid()
	for k := range 250 {
		ips = append(ips, net.IPv4(127, byte(2+pid/250%250), byte(2+pid%250), byte(1+k)))
	}
	return ips
}

// Clients of others come with certificates and without, as they are told to, and speak
// to those who come in the clear.
func TestMosquittoOverTLS(t *testing.T) {
	t.Parallel()
	pub := harness.Tool(t, "mosquitto_pub", "mosquitto-clients")
	sub := harness.Tool(t, "mosquitto_sub", "mosquitto-clients")
	a, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	for _, who := range []*authority{a, stranger} {
		who.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	without := []string{"--cafile", a.pem("ca")}
	with := func(who *authority) []string {
		return append(without[:2:2], "--cert", who.pem("client"), "--key", who.keyOf("client"))
	}
	for mode, tc := range map[string]struct {
		more      string
		good, bad [][]string
	}{
		"none":    {"", [][]string{without, with(a)}, [][]string{{"--cafile", stranger.pem("stranger")}}},
		"request": {"  client-ca: " + a.pem("ca") + "\n  client-auth: request\n", [][]string{without, with(a)}, [][]string{with(stranger)}},
		"require": {"  client-ca: " + a.pem("ca") + "\n  client-auth: require\n", [][]string{with(a)}, [][]string{without, with(stranger)}},
	} {
		t.Run(mode, func(t *testing.T) {
			n := secured(t, a, tc.more)
			host, port, _ := net.SplitHostPort(n.MQTTS)
			here := []string{"-h", host, "-p", port}
			for k, args := range tc.good {
				plain := run(t, "in the clear", exec.Command(sub, append(at(n), "-t", "x/#", "-q", "2", "-v")...))
				safe := run(t, "over TLS", exec.Command(sub, append(append(here[:4:4], args...), "-t", "x/#", "-q", "2", "-v")...))
				payload := strings.Repeat(fmt.Sprint(k), 20_000)
				harness.Eventually(t, "both subscribers have it", func() error {
					out, err := exec.Command(pub, append(append(here[:4:4], args...), "-t", "x/y", "-q", "2", "-m", payload)...).CombinedOutput()
					if err != nil {
						return fmt.Errorf("%w: %s", err, out)
					}
					for _, s := range []*lines{plain, safe} {
						if got := s.get(); len(got) == 0 || got[0] != "x/y "+payload {
							return fmt.Errorf("%s: %d lines", s.name, len(got))
						}
					}
					return nil
				})
			}
			for _, args := range tc.bad {
				out, err := exec.Command(pub, append(append(here[:4:4], args...), "-t", "x/y", "-q", "1", "-m", "bad")...).CombinedOutput()
				if err == nil {
					t.Errorf("%v is let in: %s", args, out)
				}
			}
		})
	}
}

// Both Paho clients publish and subscribe over TLS, with a certificate of their own
// and without, and get in with none that has expired.
func TestPahoOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "ca")
	a.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	a.sign("expired", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().Add(-time.Minute)})
	n := secured(t, a, "  client-ca: "+a.pem("ca")+"\n  client-auth: request\n")
	host, _, _ := net.SplitHostPort(n.MQTTS)
	for _, own := range []string{"", "client", "expired"} {
		conf := a.trust()
		conf.ServerName = host
		if own != "" {
			cert, err := tls.LoadX509KeyPair(a.pem(own), a.keyOf(own))
			a.must(err)
			conf.Certificates = []tls.Certificate{cert}
		}
		if own == "expired" {
			c := paho3.NewClient(options3("expired").SetTLSConfig(conf).AddBroker("ssl://" + n.MQTTS))
			if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() == nil {
				t.Error("an expired certificate is good enough")
			}
			continue
		}
		c3 := dialAt(t, "ssl://"+n.MQTTS, options3("tls3"+own).SetTLSConfig(conf))
		conn, err := tls.Dial("tcp", n.MQTTS, conf)
		a.must(err)
		c5 := dial5On(t, conn, &paho.Connect{ClientID: "tls5" + own, CleanStart: true})
		in3 := subscribe3(t, c3, "paho/"+own, 2)
		c5.subscribe(t, filter5("paho/"+own, 2))
		for q := range byte(3) {
			both := func(from string) {
				if m := take(t, in3); string(m.Payload()) != from || m.Qos() != q {
					t.Errorf("3.1.1 has %q with QoS %d instead of %q with %d", m.Payload(), m.Qos(), from, q)
				}
				if m := take(t, c5.in); string(m.Payload) != from || m.QoS != q {
					t.Errorf("5 has %q with QoS %d instead of %q with %d", m.Payload, m.QoS, from, q)
				}
			}
			done3(t, c3.Publish("paho/"+own, q, false, "from 3"))
			both("from 3")
			c5.publish(t, paho.Publish{Topic: "paho/" + own, QoS: q, Payload: []byte("from 5")})
			both("from 5")
		}
	}
}

// OpenSSL agrees on TLS 1.3 and on MQTT within it, and finds the certificate good.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := harness.Tool(t, "openssl", "openssl")
	a := newAuthority(t, "ca")
	n := secured(t, a, "  min-version: 1.3\n")
	cmd := exec.Command(openssl, "s_client", "-connect", n.MQTTS, "-alpn", "mqtt", "-CAfile", a.pem("ca"), "-verify_return_error")
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("s_client: %v", err)
	}
	for _, want := range []string{"TLSv1.3", "ALPN protocol: mqtt", "Verify return code: 0 (ok)"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, err := exec.Command(openssl, "s_client", "-connect", n.MQTTS, "-tls1_2").CombinedOutput(); err == nil {
		t.Errorf("TLS 1.2 is spoken:\n%s", out)
	}
}

// The command line's own clients speak TLS, and say what is wrong.
func TestOwnClientsOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "ca")
	a.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	n := secured(t, a, "  client-ca: "+a.pem("ca")+"\n  client-auth: require\n")
	host, port, _ := net.SplitHostPort(n.MQTTS)
	dunlin := func(args ...string) (string, error) {
		out, err := exec.Command(n.Bin, append(args, "-h", host, "-p", port)...).CombinedOutput()
		return string(out), err
	}
	own := []string{"--cert", a.pem("client"), "--key", a.keyOf("client")}
	good := append([]string{"pub", "-t", "own/tls", "-m", "hello", "-q", "1", "-r", "--cafile", a.pem("ca")}, own...)
	if out, err := dunlin(good...); err != nil {
		t.Errorf("pub: %v: %s", err, out)
	}
	out, err := dunlin(append([]string{"sub", "-t", "own/tls", "-C", "1", "--insecure", "--server-name", "anything"}, own...)...)
	if err != nil || !strings.Contains(out, "hello") {
		t.Errorf("sub: %v: %s", err, out)
	}
	for name, args := range map[string][]string{
		"authority":   append([]string{"pub", "-t", "a", "-m", "b", "--tls"}, own...),
		"certificate": {"pub", "-t", "a", "-m", "b", "--cafile", a.pem("ca")},
	} {
		if out, err := dunlin(args...); err == nil || !strings.Contains(out, name) {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}
