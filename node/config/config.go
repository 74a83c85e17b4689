package config

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"dunlin/node/auth/certificate"
	"dunlin/node/listen/secure"
	"dunlin/node/listen/websocket"
)

// Config is the whole configuration of a node. It is passed by value and not
// changed after Load. What each setting means to an operator, its default and
// its allowed values stand in settings.go; the comments here are for its readers
// in code. Addresses are host:port with a numeric port; "" is off where that is
// allowed, port 0 lets the kernel choose.
type Config struct {
	NodeName string // for people: logs, API; unique within a cluster
	DataDir  string // created with mode 0700

	MQTTAddr       string
	MQTTSAddr      string
	WSAddr         string
	WSSAddr        string
	HTTPAddr       string
	TLS            TLS
	WebSocket      WebSocket
	ProxyProtocol  ProxyProtocol
	AllowAnonymous bool // clients without credentials are let in: on listeners beyond loopback, and beside Auth

	// The cluster's addresses: bound, and told to peers where that differs.
	GossipAddr           string
	GossipAdvertiseAddr  string // "": GossipAddr
	ClusterAddr          string
	ClusterAdvertiseAddr string   // "": ClusterAddr
	ClusterID            string   // peers with another one are refused
	Join                 []string // gossip addresses of members to be
	// BootstrapExpect is the number of promises that form a cluster. 0 is unset:
	// use Bootstrap.
	BootstrapExpect   int
	Shards            int // 1 to 64
	ReplicationFactor int // the first value of the cluster's setting
	SnapshotLogSize   int // bytes of a shard's log after which it takes a snapshot
	ClusterTLS        ClusterTLS
	GossipKey         []byte // 16, 24 or 32 bytes; nil: gossip in the clear

	Loops         int  // event loops; 0: one per CPU
	PortableLoops bool // goroutines in place of epoll

	LogLevel  slog.Level
	LogFormat string // "text" or "json"

	ConnectTimeout  time.Duration // from accept to a whole CONNECT (case 5)
	SendTimeout     time.Duration // a client that takes no byte for so long is closed (case 29)
	ShutdownTimeout time.Duration // a graceful stop becomes a hard one

	DiskStallTimeout time.Duration // a write that takes longer stops the node (D3)

	Limits Limits
	Auth   Auth
	ACL    ACL
}

// WebSocket says which requests to ws-addr and wss-addr become a WebSocket.
type WebSocket struct {
	Path    string
	Origins []string // as websocket.ParseOrigins takes them
}

// ProxyProtocol is the networks of the proxies before each listener. Where there are
// any, a connection has to come from one of them and to begin with a PROXY header;
// where there are none, it must not.
type ProxyProtocol struct{ MQTT, MQTTS, WS, WSS []netip.Prefix }

// TLS is how clients are spoken to at mqtts-addr and wss-addr.
type TLS struct {
	Certs, Keys []string // PEM files, in pairs
	ClientCA    string   // PEM file; ""
	ClientAuth  ClientAuth
	MinVersion  string // "1.2" or "1.3"
}

// ClientAuth says what is asked of clients beyond what they are asked for in MQTT.
type ClientAuth string

// A certificate that is given has to be good.
const (
	ClientAuthNone    ClientAuth = "none"
	ClientAuthRequest ClientAuth = "request"
	ClientAuthRequire ClientAuth = "require"
)

// Files are those that TLS for clients is made of.
func (t TLS) Files() secure.Files {
	f := secure.Files{Certs: t.Certs, Keys: t.Keys, ClientCA: t.ClientCA, MinVersion: tls.VersionTLS12}
	if t.MinVersion == "1.3" {
		f.MinVersion = tls.VersionTLS13
	}
	switch t.ClientAuth {
	case ClientAuthRequest:
		f.ClientAuth = tls.VerifyClientCertIfGiven
	case ClientAuthRequire:
		f.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return f
}

// ClusterTLS names the PEM files of mutual TLS between nodes: all or none.
type ClusterTLS struct{ Cert, Key, CA string }

// Enabled says whether peers speak TLS.
func (t ClusterTLS) Enabled() bool { return t.Cert != "" }

// Limits bound what clients can use (P10).
type Limits struct {
	MaxPacketSize         uint32        // bytes, whole packet, from a client
	ReceiveMaximum        uint16        // QoS > 0 publishes a client may have in flight
	MaxInflight           uint16        // deliveries in flight to a client, at most
	TopicAliasMaximum     uint16        // aliases a client may set; 0: none
	SendTopicAliasMaximum uint16        // aliases the server sets at most; 0: none
	MaxKeepalive          time.Duration // whole seconds up to 65,535; 0: what the client asks for
	MaxSessionExpiry      time.Duration // whole seconds; 0: no bound

	MaxConnections   int // 0: as many as there are descriptors
	MaxSessions      int // that this node holds, connected or not; each shard takes its part
	MaxSubscriptions int // of one session

	QueueMessages int // waiting for one session
	QueueBytes    int // bytes waiting for one session
	QueuePolicy   QueuePolicy
	QueueMemory   int64 // bytes of all queues that this node holds in memory; the rest is in files

	MaxUnsent int // bytes of output held for one connection

	RetainedMessages int
	RetainedBytes    int64
}

// QueuePolicy is what a full queue does.
type QueuePolicy string

// A full queue refuses the new message or gives up the oldest that is not in flight.
const (
	DropNewest QueuePolicy = "drop-newest"
	DropOldest QueuePolicy = "drop-oldest"
)

// Auth is how clients prove who they are. The zero value asks nobody: then whoever
// reaches a listener is let in.
type Auth struct {
	UsersFile   string           // as node/auth/users reads it; "": none
	Certificate certificate.Rule // where a client's certificate names its user; CertificateNone: nowhere
}

// CertificateNone says that certificates name no users.
const CertificateNone certificate.Rule = "none"

// ByCertificate says whether a certificate proves who a client is.
func (a Auth) ByCertificate() bool { return a.Certificate != CertificateNone && a.Certificate != "" }

// Enabled says whether clients have to prove who they are.
func (a Auth) Enabled() bool { return a.UsersFile != "" || a.ByCertificate() }

// ACL is what clients may do. Without a file that is everything, unless Auth asks them
// who they are: then it is nothing.
type ACL struct {
	File string // rules, as node/auth/acl reads them; ""

	// DenyFilters are filters that nobody may subscribe to: SUBACK 0x87, to
	// 3.1.1 clients 0x80. One is denied that is spelled the same, with or
	// without a share group before it.
	DenyFilters []string
}

// Default is the configuration of a node that was told nothing.
func Default() Config {
	host, err := os.Hostname()
	if err != nil || !validName(host) {
		host = "dunlin"
	}
	return Config{
		NodeName:          host,
		DataDir:           "./data",
		MQTTAddr:          "127.0.0.1:1883",
		HTTPAddr:          "127.0.0.1:18083",
		GossipAddr:        "127.0.0.1:7946",
		ClusterAddr:       "127.0.0.1:7947",
		WebSocket:         WebSocket{Path: "/mqtt", Origins: []string{websocket.SameHost}},
		TLS:               TLS{ClientAuth: ClientAuthNone, MinVersion: "1.2"},
		Auth:              Auth{Certificate: CertificateNone},
		ClusterID:         "dunlin",
		Shards:            16,
		ReplicationFactor: 3,
		SnapshotLogSize:   64 << 20,
		LogLevel:          slog.LevelInfo,
		LogFormat:         "text",
		ConnectTimeout:    10 * time.Second,
		SendTimeout:       30 * time.Second,
		ShutdownTimeout:   15 * time.Second,
		DiskStallTimeout:  10 * time.Second,
		Limits: Limits{
			MaxPacketSize:         1 << 20,
			ReceiveMaximum:        1024,
			MaxInflight:           256,
			TopicAliasMaximum:     32,
			SendTopicAliasMaximum: 16,
			MaxSessionExpiry:      30 * 24 * time.Hour,
			MaxSessions:           4_000_000,
			MaxSubscriptions:      10_000,
			QueueMessages:         100_000,
			QueueBytes:            16 << 20,
			QueuePolicy:           DropNewest,
			QueueMemory:           queueMemory(),
			MaxUnsent:             4 << 20,
			RetainedMessages:      4_000_000,
			RetainedBytes:         1 << 30,
		},
	}
}

// Bootstrap is the number of nodes whose promises form a new cluster; 0 says
// that this node only joins one that exists.
func (c Config) Bootstrap() int {
	if c.BootstrapExpect == 0 && len(c.Join) == 0 {
		return 1
	}
	return c.BootstrapExpect
}

// Listener is one client-facing socket of the configuration.
type Listener struct {
	Name      string // the key without "-addr": "mqtt", "mqtts", "ws", "wss"
	Addr      string
	TLS       bool
	WebSocket bool
	Proxies   []netip.Prefix // whose PROXY headers are believed, and needed; none: no headers
}

// Listeners lists the MQTT listeners that are on.
func (c Config) Listeners() []Listener {
	var ls []Listener
	for _, l := range c.listeners() {
		if l.Addr != "" {
			ls = append(ls, l)
		}
	}
	return ls
}

// listeners lists all there could be.
func (c Config) listeners() []Listener {
	p := c.ProxyProtocol
	return []Listener{
		{Name: "mqtt", Addr: c.MQTTAddr, Proxies: p.MQTT},
		{Name: "mqtts", Addr: c.MQTTSAddr, Proxies: p.MQTTS, TLS: true},
		{Name: "ws", Addr: c.WSAddr, Proxies: p.WS, WebSocket: true},
		{Name: "wss", Addr: c.WSSAddr, Proxies: p.WSS, TLS: true, WebSocket: true},
	}
}
