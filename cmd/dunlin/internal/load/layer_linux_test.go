package load

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/websocket"

	"dunlin/cmd/dunlin/internal/load/floor"
)

// splice joins two connections until one ends.
func splice(a, b io.ReadWriteCloser) {
	go func() {
		_, _ = io.Copy(a, b)
		a.Close()
	}()
	_, _ = io.Copy(b, a)
	b.Close()
}

// TestLayers drives the relay through TLS, WebSocket and both, which others'
// implementations take off before it.
func TestLayers(t *testing.T) {
	for _, transport := range []string{"tls", "ws", "wss"} {
		t.Run(transport, func(t *testing.T) {
			c := relay(t, floor.Pairs)
			broker := c.Brokers[0]
			server := httptest.NewUnstartedServer(websocket.Server{
				Handshake: func(*websocket.Config, *http.Request) error { return nil },
				Handler: func(ws *websocket.Conn) {
					ws.PayloadType = websocket.BinaryFrame
					if plain, err := net.Dial("tcp", broker); err == nil {
						splice(ws, plain)
					}
				},
			})
			if transport == "ws" {
				server.Start()
			} else {
				server.StartTLS()
			}
			t.Cleanup(server.Close)
			c.Brokers = []string{server.Listener.Addr().String()}
			if transport == "tls" {
				l, err := tls.Listen("tcp", "127.0.0.1:0", server.TLS)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				c.Brokers = []string{l.Addr().String()}
				go func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						go func() {
							if plain, err := net.Dial("tcp", broker); err == nil {
								splice(conn, plain)
							}
						}()
					}
				}()
			}
			c.Verb, c.Publishers, c.Subscribers, c.QoS, c.Transport, c.Path, c.Size, c.Limit = P2P, 5, 5, 1, transport, "/", 5000, 200
			if transport != "ws" {
				c.TLS.CA = filepath.Join(t.TempDir(), "ca.pem")
				text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
				if err := os.WriteFile(c.TLS.CA, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if r := mustRun(t, c, Options{}); r.Connections.Held != 10 || r.Check.Delivered != c.Limit {
				t.Errorf("%+v %+v", r.Connections, r.Check)
			}
			if transport == "ws" {
				return
			}
			c.TLS.CA = ""
			r, err := Run(t.Context(), c, Options{})
			if err != nil || len(r.Failures) != 1 || !strings.HasPrefix(r.Failures[0].Why, "TLS: certificate not accepted") {
				t.Errorf("an unknown authority: %v, %+v", err, r)
			}
		})
	}
}

// TestUpgraded reads answers to the request for a WebSocket, whole and in pieces.
func TestUpgraded(t *testing.T) {
	key := [16]byte([]byte("the sample nonce")) // of RFC 6455, section 1.3
	const good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	for i := range len(good) {
		if n, err := upgraded([]byte(good[:i]), key); n != 0 || err != nil {
			t.Fatalf("%d bytes: %d, %v", i, n, err)
		}
	}
	if n, err := upgraded([]byte(good+"\x82\x00"), key); n != len(good) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for name, text := range map[string]string{
		"404":       "HTTP/1.1 404 Not Found\r\n\r\n",
		"wrong key": strings.Replace(good, "s3p", "p3s", 1),
		"no HTTP":   "\x20\x02\x00\x00\r\n\r\n",
		"endless":   strings.Repeat("x", maxUpgrade+1),
	} {
		if _, err := upgraded([]byte(text), key); err == nil {
			t.Errorf("%s is a WebSocket", name)
		}
	}
	request := upgradeRequest("h:1", "/mqtt", key)
	if !bytes.Contains(request, []byte("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")) {
		t.Errorf("%s", request)
	}
}
