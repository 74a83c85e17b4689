package broker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
)

// Who has a certificate that is withdrawn is put out, however far the connection has come,
// and all others stay; nobody comes in with one, and nothing is kept of who is gone.
func TestRevoke(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{}
		withdrawn := map[*x509.Certificate]bool{}
		is := func(chains [][]*x509.Certificate) bool { return len(chains) > 0 && withdrawn[chains[0][0]] }
		c := newCell(t, 1, 2, func(o *Options) { o.Auth, o.Withdrawn = a, is })
		good, bad := new(x509.Certificate), new(x509.Certificate)
		dial := func(loop int, cert *x509.Certificate) *testConn {
			var info listen.Info
			if cert != nil {
				info.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}
			}
			return c.dialAs(0, loop, info)
		}
		hello := func(conn *testConn, name string) {
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(name), HasWill: true,
				Will: mqtt.Will{Topic: []byte("gone/" + name)}})
		}
		var up [2]map[*x509.Certificate][]*testConn
		for loop := range up {
			up[loop] = map[*x509.Certificate][]*testConn{}
			for i := range slabChunk/8 + (1-loop)*slabChunk { // more than a chunk
				cert := []*x509.Certificate{good, bad, nil}[i%3]
				conn := dial(loop, cert)
				hello(conn, fmt.Sprint(loop, "-", i))
				conn.one(mqtt.CONNACK)
				up[loop][cert] = append(up[loop][cert], conn)
			}
		}
		watcher := up[0][good][0]
		watcher.subscribe("gone/#", 0)
		silent, late := dial(0, bad), dial(1, bad)
		a.err = auth.ErrLater
		hello(late, "late")

		withdrawn[bad] = true
		c.nodes[0].b.Revoke(is)
		c.settle()
		if r := late.one(mqtt.CONNACK).Connack.Reason; r != mqtt.NotAuthorized || !late.closed {
			t.Errorf("who was about to come in: %v", r)
		}
		if silent.none(); !silent.closed {
			t.Error("who has said nothing yet is there")
		}
		wills := len(watcher.recv())
		for loop := range up {
			for cert, conns := range up[loop] {
				for _, conn := range conns {
					if cert != bad {
						if conn.closed {
							t.Fatal("one of those with a good certificate, or none, was put out")
						}
						continue
					}
					wills--
					if r := conn.one(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.NotAuthorized || !conn.closed {
						t.Fatalf("DISCONNECT %v, closed %v", r, conn.closed)
					}
				}
			}
		}
		if wills != 0 {
			t.Errorf("%d wills too many", wills)
		}
		if conn := dial(0, bad); !conn.closed {
			t.Error("one comes in with a certificate that is withdrawn")
		}
		for loop := range up {
			for _, conns := range up[loop] {
				for _, conn := range conns {
					if !conn.closed {
						conn.hangUp()
					}
				}
			}
			if n := len(c.nodes[0].loops[loop].worker().certificates); n != 0 {
				t.Errorf("%d certificates kept", n)
			}
		}
	})
}
