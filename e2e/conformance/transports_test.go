package conformance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"dunlin/e2e/harness"
)

// A client that comes one way and one that comes another exchange messages of every
// QoS, on both kinds of event loops.
func TestTransports(t *testing.T) {
	t.Parallel()
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable %v", portable), func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t, "ca")
			n := secured(t, a, fmt.Sprintf("portable-loops: %v\n", portable))
			trust := a.trust()
			big := strings.Repeat("0123456789", 30_000)
			ways := []string{"tcp://" + n.MQTT, "ssl://" + n.MQTTS, "ws://" + n.WS + "/mqtt", "wss://" + n.WSS + "/mqtt"}
			for k, to := range ways {
				from := ways[(k+1)%len(ways)]
				sub := dialAt(t, to, options3(fmt.Sprintf("sub%d", k)).SetTLSConfig(trust))
				pub := dialAt(t, from, options3(fmt.Sprintf("pub%d", k)).SetTLSConfig(trust))
				for q := range byte(3) {
					topic := fmt.Sprintf("ways/%d/%d", k, q)
					in := subscribe3(t, sub, topic, q)
					for _, payload := range []string{"", "small", big, "last"} {
						done3(t, pub.Publish(topic, q, false, payload))
						if m := take(t, in); string(m.Payload()) != payload || m.Qos() != q {
							t.Errorf("from %s to %s: %d bytes with QoS %d instead of %d with %d", from, to, len(m.Payload()), m.Qos(), len(payload), q)
						}
					}
				}
			}
		})
	}
}

// dialAt connects a client to a URL.
func dialAt(t *testing.T, at string, o *paho3.ClientOptions) paho3.Client {
	t.Helper()
	c := paho3.NewClient(o.AddBroker(at))
	done3(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// Behind a proxy that says who comes, a client has its own address; without its word, or
// from elsewhere, nobody gets in.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{WS: true, Config: "proxy-protocol:\n  mqtt: [127.0.0.0/8]\n  ws: [192.0.2.0/24]\n"}).Nodes[0]
	relayed := func(header string) *paho3.ClientOptions {
		return options3("relayed").SetCustomOpenConnectionFn(func(u *url.URL, _ paho3.ClientOptions) (net.Conn, error) {
			conn, err := net.Dial("tcp", u.Host)
			if err == nil {
				_, err = io.WriteString(conn, header)
			}
			return conn, err
		})
	}
	c := dialAt(t, "tcp://"+n.MQTT, relayed("PROXY TCP4 192.0.2.1 192.0.2.2 49152 1883\r\n"))
	if clients := n.API(http.MethodGet, "/api/v1/clients"); !strings.Contains(clients, "192.0.2.1:49152") {
		t.Errorf("the client's address is not shown: %s", clients)
	}
	in := subscribe3(t, c, "proxied", 1)
	done3(t, c.Publish("proxied", 1, false, "x"))
	take(t, in)

	for _, header := range []string{"", "PROXY TCP4 x\r\n"} {
		bad := paho3.NewClient(relayed(header).AddBroker("tcp://" + n.MQTT))
		if token := bad.Connect(); !token.WaitTimeout(patience) || token.Error() == nil {
			t.Errorf("let in with %q", header)
		}
	}
	conn, err := net.Dial("tcp", n.WS)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b, err := io.ReadAll(conn); len(b) > 0 {
		t.Errorf("who is no proxy is told %q, %v", b, err)
	}
	if refused := n.Metrics()["dunlin_proxied_refused_total"]; refused != 3 {
		t.Errorf("%v refusals counted", refused)
	}
}
