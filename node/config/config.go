package config

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"dunlin/cluster"
	"dunlin/node/auth/certificate"
	"dunlin/node/auth/jwt"
	"dunlin/node/listen/secure"
	"dunlin/node/listen/websocket"
	"dunlin/router"
)

// Config is the whole configuration of a node. It is passed by value and not
// changed after Load. What each setting means to an operator, its default and
// its allowed values stand in settings.go; the comments here are for its readers
// in code. Addresses are host:port with a numeric port; "" is off where that is
// allowed, port 0 lets the kernel choose.
type Config struct {
	NodeName string // for people: logs, API; unique within a cluster
	DataDir  string // created with mode 0700

	MQTTAddr        string
	MQTTSAddr       string
	WSAddr          string
	WSSAddr         string
	HTTPAddr        string
	HTTP            HTTP
	TLS             TLS
	WebSocket       WebSocket
	ProxyProtocol   ProxyProtocol
	ServerReference string // what 5.0 clients are told that are sent elsewhere; "": nothing
	AllowAnonymous  bool   // clients without credentials are let in: on listeners beyond loopback, and beside Auth

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
	GossipKey         []byte // 16, 24 or 32 bytes; nil: GossipKeyFile, or gossip in the clear
	GossipKeyFile     string // as cluster.ReadGossipKeys reads it

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
	Audit  Audit
}

// HTTP is how http-addr is spoken to.
type HTTP struct {
	Cert, Key string   // PEM files; both or none
	Plaintext bool     // tokens may cross networks in the clear
	TokenFile string   // as node/token reads it; ""
	Open      []string // OpenHealth, OpenMetrics: what needs no token beyond loopback
}

// What http-addr may serve without a token.
const (
	OpenHealth  = "health"
	OpenMetrics = "metrics"
)

// TLS says whether http-addr speaks it.
func (h HTTP) TLS() bool { return h.Cert != "" }

// Files are those of its TLS.
func (h HTTP) Files() secure.Files {
	return secure.Files{Certs: []string{h.Cert}, Keys: []string{h.Key}, MinVersion: tls.VersionTLS12}
}

// Audit is where it is written down who changed what and who was refused.
type Audit struct {
	Enabled bool
	File    string // "": the node's log
	MaxSize int64  // bytes of the file, after which it is put aside
	Keep    int    // files put aside that are kept
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
	CRLFiles    []string // lists of revoked certificates of clients, PEM or DER
	CRLUnlisted Unlisted
	ClientAuth  ClientAuth
	MinVersion  string // "1.2" or "1.3"
}

// Unlisted says what becomes of a client's certificate if no list of revoked ones is in
// force of an authority that has signed it, or those that did.
type Unlisted string

// Where there are any lists.
const (
	UnlistedRefuse Unlisted = "refuse"
	UnlistedAccept Unlisted = "accept"
)

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
	f := secure.Files{
		Certs: t.Certs, Keys: t.Keys, ClientCA: t.ClientCA, MinVersion: tls.VersionTLS12,
		CRLs: t.CRLFiles, Unlisted: t.CRLUnlisted == UnlistedAccept,
	}
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

// ClusterTLS names the PEM files of mutual TLS between nodes, all or none, and the DNS name
// that a node's certificate has to have, if any.
type ClusterTLS struct{ Cert, Key, CA, Name string }

// Files are those files for package cluster.
func (t ClusterTLS) Files() cluster.TLSFiles { return cluster.TLSFiles(t) }

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

	MessageRate int   // packets a second of one client; 0: any number
	ByteRate    int64 // bytes a second of one client; 0: any number
	RateAction  RateAction

	MaxTopicLength int // bytes of a topic or filter
	MaxTopicLevels int // of a topic or filter

	MaxConnections       int // 0: as many as there are descriptors for
	MaxSessions          int // that this node holds, connected or not; each shard takes its part
	MaxUserSessions      int // of one user in the cluster, each shard taking its part and a margin; 0: no bound
	MaxSubscriptions     int // of one session
	MaxNodeSubscriptions int // of the sessions that are connected to this node

	QueueMessages int // waiting for one session
	QueueBytes    int // bytes waiting for one session
	QueuePolicy   QueuePolicy
	QueueMemory   int64 // bytes of all queues that this node holds in memory; the rest is in files

	MaxUnsent    int   // bytes of output held for one connection
	BufferMemory int64 // bytes held for all connections: half for their sockets, half for the queues of sessions that end with them

	RetainedMessages int
	RetainedBytes    int64

	Memory          int64 // bytes that the process may take; 0: not known, so that it has no mark
	MemoryHighWater int   // percent of Memory in use at which nothing more is stored; 100: never
	DiskReserve     int64 // bytes that are to be free at DataDir, a twentieth of its file system at most; with less nothing more is stored; 0: any number

	Admission Admission
}

// Admission is who may open a connection and connect, as limit.Options say it; numbers
// that are 0 set no bound.
type Admission struct {
	Listeners struct{ MQTT, MQTTS, WS, WSS int } // connections of each

	ConnectionsPerAddress int
	ConnectionsPerUser    int

	ConnectRate           int // in a second
	ConnectRatePerAddress int
	ConnectRatePerUser    int
	ConnectBurst          time.Duration

	FailedLogins           int
	FailedLoginsPerAddress int // in a minute
	MaxLoginBackOff        time.Duration

	Flapping       int
	FlappingWindow time.Duration
	FlappingBan    time.Duration

	TrustedAddresses []netip.Prefix
	MaxLoopDelay     time.Duration // 0: any
}

// RateAction is what becomes of a client that sends faster than it may.
type RateAction string

// Its socket is not read from for a while; one that goes on is held back for good, or
// disconnected.
const (
	RatePause      RateAction = "pause"
	RateDisconnect RateAction = "disconnect"
)

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
	Store       bool             // users of the cluster's store have passwords too
	Certificate certificate.Rule // where a client's certificate names its user; CertificateNone: nowhere
	JWT         JWT
	Webhook     Webhook
	OwnClientID bool // a client identifier has to be the user's name, unless the node gives it
}

// JWT is which tokens let clients in, and what their claims mean.
type JWT struct {
	KeysFile   string // as jwt.ReadKeys reads it; ""
	SecretFile string // as jwt.ReadSecret reads it; ""
	KeysURL    string // of a JSON Web Key Set; ""
	Discovery  bool   // the issuer says where its keys are

	CAFile  string        // authorities for KeysURL and Discovery; "": the system's
	Refresh time.Duration // how often keys are fetched
	Keep    time.Duration // for how long they are good without

	Issuer      string
	Audience    []string
	Required    []string // name, or name=value
	Leeway      time.Duration
	UserClaim   string
	SameUser    bool
	RightsClaim string // "": none
	GroupsClaim string // "": none
}

// Enabled says whether tokens let anybody in.
func (j JWT) Enabled() bool { return j.KeysFile != "" || j.SecretFile != "" || j.Fetches() }

// Fetches says whether keys come from a server.
func (j JWT) Fetches() bool { return j.KeysURL != "" || j.Discovery }

// Server is where keys are fetched.
func (j JWT) Server() jwt.Server {
	s := jwt.Server{URL: j.KeysURL, Discovery: j.Discovery, CA: j.CAFile, Refresh: j.Refresh, Keep: j.Keep}
	if s.Discovery {
		s.URL = j.Issuer
	}
	return s
}

// Claims are what tokens have to claim, and what that means.
func (j JWT) Claims() jwt.Claims {
	return jwt.Claims{
		Issuer: j.Issuer, Audience: j.Audience, Required: j.Required, Leeway: j.Leeway,
		User: j.UserClaim, SameUser: j.SameUser, Rights: j.RightsClaim, Groups: j.GroupsClaim,
	}
}

// Webhook is an HTTP server that says who clients are: see node/auth/webhook.
type Webhook struct {
	URL          string // "": none
	PlainHTTP    bool   // it may be http beyond loopback
	CAFile       string // "": the system's authorities
	SecretFile   string // "": no secret is sent
	SecretHeader string
	Timeout      time.Duration
	Concurrency  int
	Queue        int
	Cache        time.Duration // 0: nothing is remembered
	CacheEntries int
}

// CertificateNone says that certificates name no users.
const CertificateNone certificate.Rule = "none"

// ByCertificate says whether a certificate proves who a client is.
func (a Auth) ByCertificate() bool { return a.Certificate != CertificateNone && a.Certificate != "" }

// Enabled says whether clients have to prove who they are.
func (a Auth) Enabled() bool {
	return a.UsersFile != "" || a.Store || a.ByCertificate() || a.JWT.Enabled() || a.Webhook.URL != ""
}

// ACL is what clients may do, beside the rules of the cluster. Without any rules that is
// everything, unless Auth asks them who they are: then it is nothing.
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
		NodeName:    host,
		DataDir:     "./data",
		MQTTAddr:    "127.0.0.1:1883",
		HTTPAddr:    "127.0.0.1:18083",
		HTTP:        HTTP{Open: []string{OpenHealth, OpenMetrics}},
		Audit:       Audit{Enabled: true, MaxSize: 64 << 20, Keep: 5},
		GossipAddr:  "127.0.0.1:7946",
		ClusterAddr: "127.0.0.1:7947",
		WebSocket:   WebSocket{Path: "/mqtt", Origins: []string{websocket.SameHost}},
		TLS:         TLS{ClientAuth: ClientAuthNone, MinVersion: "1.2", CRLUnlisted: UnlistedRefuse},
		Auth: Auth{
			Certificate: CertificateNone,
			JWT:         JWT{Refresh: 10 * time.Minute, Keep: 24 * time.Hour, Leeway: 10 * time.Second, UserClaim: "sub"},
			Webhook: Webhook{
				SecretHeader: "Authorization", Timeout: 5 * time.Second, Concurrency: 16, Queue: 1024, CacheEntries: 10_000,
			},
		},
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
			MaxNodeSubscriptions:  20_000_000,
			RateAction:            RatePause,
			MaxTopicLength:        router.MaxBytes,
			MaxTopicLevels:        router.MaxLevels,
			QueueMessages:         100_000,
			QueueBytes:            16 << 20,
			QueuePolicy:           DropNewest,
			QueueMemory:           queueMemory(),
			MaxUnsent:             4 << 20,
			BufferMemory:          bufferMemory(),
			Memory:                machineMemory() >> 20 << 20,
			MemoryHighWater:       80,
			DiskReserve:           1 << 30,
			RetainedMessages:      4_000_000,
			RetainedBytes:         1 << 30,
			Admission: Admission{
				ConnectBurst:           2 * time.Second,
				FailedLogins:           5,
				FailedLoginsPerAddress: 600,
				MaxLoginBackOff:        5 * time.Minute,
				FlappingWindow:         time.Minute,
				FlappingBan:            5 * time.Minute,
				MaxLoopDelay:           500 * time.Millisecond,
			},
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
