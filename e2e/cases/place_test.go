package cases

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// A way is how the clients of a case come to a node, or what of it a case is about.
type way string

const (
	tcp       way = "tcp"
	overTLS   way = "tls"
	webSocket way = "ws"
	secureWS  way = "wss"
	three     way = "three" // TCP, with the clients of a case at different nodes of three
	peers     way = "peers" // what nodes have for one another
	admin     way = "admin" // the API
)

var (
	listeners  = []way{tcp, overTLS, webSocket, secureWS}
	everywhere = []way{tcp, overTLS, webSocket, secureWS, three}
	wrapped    = []way{overTLS, secureWS}
	framed     = []way{webSocket, secureWS}
)

func (w way) isTLS() bool { return w == overTLS || w == secureWS }
func (w way) isWS() bool  { return w == webSocket || w == secureWS }

// A ground is a configuration that cases share. Each way has nodes of its own that have
// it: what one leaves behind cannot hide behind the end of another.
type ground struct {
	name   string
	config func(s *site) string          // YAML, beside TLS
	hello  mqtt.Connect                  // what clients say who do not say otherwise
	door   func(d *door)                 // how they come, if in a way of their own
	lay    func(s *site) harness.Options // what nodes there are, if not one with every listener

	passing bool   // the session of the bystander ends with its connection
	logs    uint64 // bytes that the logs of shards, and their cache, may have grown by more than elsewhere
}

// sites are the nodes of all grounds and ways, which start when a case needs them.
type sites struct {
	t       *testing.T // the nodes' life
	machine *harness.Stood
	mu      sync.Mutex
	all     map[siteKey]*site
}

type siteKey struct {
	ground *ground
	via    way
}

// site is a ground on one way: running nodes, with a bystander at them.
type site struct {
	siteKey
	t       *testing.T
	machine *harness.Stood
	dir     string // for the configuration's files
	ca      *harness.CA
	nodes   []*harness.Node
	by      *bystander
	base    []harness.Held // what each node held at first
	epoch   int            // of the rules, see change
	started sync.Once
}

func newSites(t *testing.T) *sites {
	return &sites{t: t, all: make(map[siteKey]*site), machine: harness.WatchMachine(t)}
}

// at returns a site with its nodes running. Others may start theirs meanwhile.
func (ss *sites) at(t *testing.T, g *ground, via way) *site {
	t.Helper()
	key := siteKey{g, via}
	ss.mu.Lock()
	s := ss.all[key]
	if s == nil {
		s = &site{siteKey: key, t: ss.t, machine: ss.machine}
		ss.all[key] = s
	}
	ss.mu.Unlock()
	s.started.Do(s.start)
	if len(s.base) == 0 {
		t.Fatalf("the nodes of %s over %s have not started", g.name, via)
	}
	return s
}

// start starts the nodes and the bystander, and looks at what they hold.
func (s *site) start() {
	s.dir, s.ca = s.t.TempDir(), harness.NewCA(s.t)
	o := harness.Options{}
	switch {
	case s.ground.lay != nil:
		o = s.ground.lay(s)
	case s.via == three:
		o.Nodes = 3
	default:
		o = s.everyListener(harness.Place{})
	}
	o.Config += s.ground.config(s)
	c := harness.Start(s.t, o)
	if len(c.Nodes) > 1 {
		c.NeedReplicas()
	}
	s.nodes = c.Nodes
	p := s.place()
	s.by = newBystander(s.t, s.machine, &p.again, &p.pub, !s.ground.passing)
	s.base = s.steady()
}

// everyListener is one node that listens on all ways, at an address of its own.
func (s *site) everyListener(at harness.Place) harness.Options {
	at.Host = harness.Host(s.t)
	s.ca.Issue("listener", &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(at.Host)}, DNSNames: []string{"localhost"}})
	return harness.Options{TLS: true, WS: true, Config: s.listenerConfig(), Place: func(int) harness.Place { return at }}
}

// listenerConfig is the configuration of TLS.
func (s *site) listenerConfig() string {
	conf := fmt.Sprintf("tls:\n  cert: %s\n  key: %s\n", s.ca.Path("listener.pem"), s.ca.Path("listener.key"))
	if s.ground == certified {
		conf += "  client-ca: " + s.ca.Path("ca.pem") + "\n  client-auth: request\n"
	}
	return conf
}

// write writes a file for the configuration, and returns its path.
func (s *site) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// place is what a case is given.
type place struct {
	*site
	sub   door // of subscribers, and whoever is alone
	pub   door // of publishers
	again door // of those who come back
}

func (s *site) place() *place {
	p := &place{site: s, sub: s.door(0), pub: s.door(1), again: s.door(2)}
	return p
}

// door is one way to one node.
type door struct {
	node  *harness.Node
	via   way
	hello mqtt.Connect
	ca    *harness.CA
	trust *tls.Config
	from  string // address of this machine that connections come from; "": any
	first string // what they begin with, before anything else
}

func (s *site) door(k int) door {
	d := door{node: s.nodes[k%len(s.nodes)], via: s.via, hello: s.ground.hello, ca: s.ca, trust: s.ca.Trust()}
	if s.ground.door != nil {
		s.ground.door(&d)
	}
	return d
}

// behind is the door for who comes from another address.
func (d door) behind(address string) door {
	d.from = address
	return d
}

// as is the door for another user, with the password of all.
func (d door) as(user string) door {
	d.hello = mqtt.Connect{HasUsername: user != "", Username: []byte(user), HasPassword: user != "", Password: []byte("secret")}
	return d
}

// own gives who comes the certificates that were issued under these names, in place of
// others.
func (d *door) own(names ...string) { d.trust = d.ca.Trust(names...) }

// addr is host and port.
func (d door) addr() string {
	switch d.via {
	case overTLS:
		return d.node.MQTTS
	case webSocket:
		return d.node.WS
	case secureWS:
		return d.node.WSS
	}
	return d.node.MQTT
}

// raw is a connection on which nothing has been sent but what all begin with.
func (d door) raw(t testing.TB) net.Conn {
	t.Helper()
	var from net.Addr
	if d.from != "" {
		from = &net.TCPAddr{IP: net.ParseIP(d.from)}
	}
	c, err := (&net.Dialer{LocalAddr: from, Timeout: patience}).Dial("tcp", d.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if d.first != "" {
		c.Write([]byte(d.first))
	}
	return c
}

// patience is how long anything may take that must happen.
const patience = 40 * time.Second

// inner is a connection within TLS, where there is TLS.
func (d door) inner(t testing.TB) (net.Conn, error) {
	t.Helper()
	c := d.raw(t)
	if !d.via.isTLS() {
		return c, nil
	}
	conf := d.trust.Clone()
	conf.ServerName, _, _ = net.SplitHostPort(d.addr())
	s := tls.Client(c, conf)
	return s, s.Handshake()
}

// open is a connection that takes MQTT, unless the node ends it before that.
func (d door) open(t testing.TB) (net.Conn, error) {
	t.Helper()
	c, err := d.inner(t)
	if err != nil || !d.via.isWS() {
		return c, err
	}
	return newSocket(c)
}

// dial is open that must not fail.
func (d door) dial(t testing.TB) *harness.Client {
	t.Helper()
	c, err := d.open(t)
	if err != nil {
		t.Fatal(err)
	}
	return harness.Over(t, c)
}

// try connects a client, whatever the answer, which is in Connack.
func (d door) try(t testing.TB, hello mqtt.Connect) *harness.Client {
	t.Helper()
	c := d.dial(t)
	c.Greet(d.complete(hello))
	return c
}

func (d door) complete(hello mqtt.Connect) mqtt.Connect {
	if !hello.HasUsername && !hello.HasPassword {
		hello.HasUsername, hello.Username = d.hello.HasUsername, d.hello.Username
		hello.HasPassword, hello.Password = d.hello.HasPassword, d.hello.Password
	}
	return hello
}

// connect connects a client that must be let in.
func (d door) connect(t testing.TB, hello mqtt.Connect) *harness.Client {
	t.Helper()
	c := d.try(t, hello)
	if c.Connack.Reason != mqtt.Success {
		t.Fatalf("%s: CONNACK %v", c.ID, c.Connack.Reason)
	}
	return c
}

// ephemeral connects a client whose session ends with its connection.
func (d door) ephemeral(t testing.TB, id string) *harness.Client {
	t.Helper()
	return d.connect(t, mqtt.Connect{ClientID: []byte(id), CleanStart: true})
}

// attempt connects a client that may be turned away before it can say who it is: closed.
func (d door) attempt(t testing.TB, hello mqtt.Connect) (c *harness.Client, why mqtt.Reason, closed bool) {
	t.Helper()
	conn, err := d.open(t)
	if err != nil {
		return nil, 0, true
	}
	c = harness.Over(t, conn)
	hello = d.complete(hello)
	if hello.Version == 0 {
		hello.Version = mqtt.V5
	}
	hello.CleanStart, c.Version = true, hello.Version
	c.Send(&hello)
	p, err := c.Next()
	if err != nil {
		return c, 0, true
	}
	return c, p.Connack.Reason, false
}

// forget ends the session of a client identifier.
func (d door) forget(t testing.TB, id string) {
	t.Helper()
	d.ephemeral(t, id).Disconnect()
}

// log is what all nodes of the place have written lately.
func (p *place) log() string {
	var all strings.Builder
	for _, n := range p.nodes {
		all.WriteString(n.Log())
	}
	return all.String()
}
