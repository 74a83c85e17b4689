package conformance

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// behind dials a node as the proxy of a client with that address.
func behind(t testing.TB, n *harness.Node, from string) *harness.Client {
	t.Helper()
	c := harness.Dial(t, n.MQTT)
	c.SendBytes([]byte("PROXY TCP4 " + from + " 192.0.2.9 49152 1883\r\n"))
	return c
}

// answered sends CONNECT and returns the answer, of which closed says that there was none.
func answered(t testing.TB, c *harness.Client, hello mqtt.Connect) (why mqtt.Reason, closed bool) {
	t.Helper()
	if hello.Version == 0 {
		hello.Version = mqtt.V5
	}
	hello.CleanStart, c.Version = true, hello.Version
	c.Send(&hello)
	p, err := c.Next()
	if err != nil {
		return 0, true
	}
	return p.Connack.Reason, false
}

// Cases 6, 37, 49: connections of an address, a listener and the node are bounded on each
// way in, and by the address that a proxy tells. Who is refused is told why, but where a
// handshake would have to come before that; who is there goes on.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "ca")
	n := secured(t, a, "limits: {connections-per-address: 3, mqtts-connections: 2, max-connections: 8}\nproxy-protocol: {mqtt: [127.0.0.0/8]}\n")
	trust := a.trust()
	over := func(scheme, addr string) error { // one that is not closed before the test ends
		c := paho3.NewClient(options3("").SetTLSConfig(trust).AddBroker(scheme + addr))
		token := c.Connect()
		if !token.WaitTimeout(patience) {
			return errors.New("no answer")
		}
		t.Cleanup(func() { c.Disconnect(0) })
		return token.Error()
	}
	var first *harness.Client
	for k := range 3 {
		c := behind(t, n, "192.0.2.1")
		if why, closed := answered(t, c, mqtt.Connect{ClientID: fmt.Append(nil, "first", k)}); why != mqtt.Success || closed {
			t.Fatalf("connection %d: %v, closed %v", k, why, closed)
		}
		first = c
	}
	for version, want := range map[mqtt.Version]mqtt.Reason{mqtt.V5: mqtt.QuotaExceeded, mqtt.V311: mqtt.ServerUnavailable} {
		if why, closed := answered(t, behind(t, n, "192.0.2.1"), mqtt.Connect{Version: version}); why != want || closed {
			t.Errorf("version %v, one too many of an address: %v, closed %v", version, why, closed)
		}
	}
	other := behind(t, n, "192.0.2.2")
	if why, _ := answered(t, other, mqtt.Connect{}); why != mqtt.Success {
		t.Errorf("from another address: %v", why)
	}
	for k, want := range []bool{true, true, false} {
		if err := over("ssl://", n.MQTTS); (err == nil) != want {
			t.Errorf("TLS connection %d: %v", k, err)
		}
	}
	if err := over("ws://", n.WS+"/mqtt"); err != nil {
		t.Errorf("a WebSocket: %v", err) // the third from this address
	}
	if err := over("ws://", n.WS+"/mqtt"); err == nil || !strings.Contains(err.Error(), "navailable") {
		t.Errorf("a WebSocket, one too many of an address: %v", err)
	}
	if err := over("wss://", n.WSS+"/mqtt"); err == nil {
		t.Error("a WebSocket in TLS, one too many of an address, is let in")
	}
	if why, _ := answered(t, behind(t, n, "192.0.2.3"), mqtt.Connect{}); why != mqtt.Success {
		t.Errorf("the last that the node takes: %v", why)
	}
	if why, _ := answered(t, behind(t, n, "192.0.2.4"), mqtt.Connect{}); why != mqtt.QuotaExceeded {
		t.Errorf("one too many for the node: %v", why)
	}
	first.ExpectQuiet()
	other.Disconnect()
	harness.Eventually(t, "there is room when one has gone", func() error {
		if why, closed := answered(t, behind(t, n, "192.0.2.4"), mqtt.Connect{}); why != mqtt.Success || closed {
			return fmt.Errorf("%v, closed %v", why, closed)
		}
		return nil
	})
}

// A reconnect storm is let in at the rate that is set, and all get in.
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	const clients, rate, burst = 600, 300, 150 // as many as come in half a second
	n := harness.Start(t, harness.Options{Config: fmt.Sprintf("limits: {connect-rate: %d, connect-burst: 500ms}\n", rate)}).Nodes[0]
	first := harness.Connect(t, n.MQTT, mqtt.Connect{ClientID: []byte("first")})
	began := time.Now()
	var refused atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				conn, err := net.Dial("tcp", n.MQTT)
				if err != nil {
					continue
				}
				t.Cleanup(func() { conn.Close() })
				hello := mqtt.Connect{Version: mqtt.V5, CleanStart: true}
				conn.SetDeadline(time.Now().Add(time.Minute))
				conn.Write(hello.Append(nil, mqtt.V5))
				var answer [4]byte
				if n, _ := conn.Read(answer[:]); n == 4 && answer[3] == 0 {
					return
				}
				refused.Add(1)
				conn.Close()
			}
			t.Error("a client never got in")
		})
	}
	all.Wait()
	took := time.Since(began)
	if least := time.Duration(clients-burst-1) * time.Second / rate; took < least {
		t.Errorf("all in after %v, earlier than the rate allows: %v", took, least)
	}
	if refused.Load() == 0 {
		t.Error("nobody was refused")
	}
	first.ExpectQuiet()
}

// Told to, a node bans a client identifier that connects too often; others do not feel it.
func TestFlapping(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Config: "limits: {flapping: 5}\n"}).Nodes[0]
	hello := mqtt.Connect{ClientID: []byte("both"), SessionExpiry: 100}
	var holder *harness.Client
	for k := 0; ; k++ {
		cl := harness.TryConnect(t, n.MQTT, hello)
		if cl.Connack.Reason == mqtt.Banned {
			break
		}
		if cl.Connack.Reason != mqtt.Success || k == 50 {
			t.Fatalf("after %d: CONNACK %v", k, cl.Connack.Reason)
		}
		holder = cl
	}
	holder.ExpectQuiet()
	harness.Connect(t, n.MQTT, mqtt.Connect{ClientID: []byte("another"), SessionExpiry: 100})
}
