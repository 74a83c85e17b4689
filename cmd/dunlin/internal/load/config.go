package load

import (
	"time"

	"dunlin/proto/mqtt"
)

// Config says what a run does. It is passed to the processes that do it and shown
// with the result; what it leaves out of JSON is secret.
type Config struct {
	Verb Verb `json:"verb"`

	// Brokers are host:port, which clients connect to in turn; PublishTo the same for
	// publishers, if theirs are others.
	Brokers   []string `json:"brokers"`
	PublishTo []string `json:"publish_to,omitempty"`
	Transport string   `json:"transport"` // tcp, tls, ws or wss
	TLS       TLS      `json:"tls"`
	Path      string   `json:"path,omitempty"` // of WebSockets
	// Sources are the local addresses that connections come from, in turn. None: the
	// kernel's choice, or more of 127.0.0.0/8 where brokers on loopback ask for them.
	Sources []string `json:"sources,omitempty"`

	Version   mqtt.Version  `json:"version"` // as on the wire: 3, 4 or 5
	Prefix    string        `json:"prefix"`  // of client identifiers
	First     int           `json:"first"`   // number of the first client of each kind
	Username  string        `json:"username,omitempty"`
	Password  string        `json:"-"`
	KeepAlive time.Duration `json:"keepalive_ns"`
	Clean     bool          `json:"clean"`
	Expiry    uint32        `json:"session_expiry"` // seconds; 5.0

	Publishers  int    `json:"publishers"`
	Subscribers int    `json:"subscribers"`      // with conn, all clients
	Topic       string `json:"topic,omitempty"`  // what publishers publish to; %i %c %u are replaced
	Filter      string `json:"filter,omitempty"` // what subscribers subscribe to, likewise
	Group       string `json:"group,omitempty"`  // of sharesub
	QoS         byte   `json:"qos"`              // of publications and subscriptions
	Retain      bool   `json:"retain,omitempty"`
	Size        int    `json:"size"` // of a payload, in bytes; at least MinSize

	// Rate is the number of messages a second of all publishers together, sent when
	// they are due, whatever the broker does (open loop); 0: as fast as Window allows
	// (closed loop).
	Rate float64 `json:"rate"`
	// Window is the number of messages that one publisher may have under way: not
	// acknowledged, or with QoS 0 not delivered. At a rate it is a bound, and what it
	// holds back counts its latency from when it was due.
	Window int `json:"window"`
	Batch  int `json:"batch"` // messages in one write, at most
	// FromWrite has latencies count from the write rather than from when the message
	// was due: what the broker took once it had the message.
	FromWrite bool `json:"latency_from_write,omitempty"`
	// Each has conn, once all are held, send one message to every so many'th client's
	// own filter; 0: none.
	Each int `json:"publish_every,omitempty"`

	// Churn has clients of conn come and go, and those of sub subscribe and
	// unsubscribe, over and over.
	Churn bool `json:"churn,omitempty"`

	ConnectRate float64 `json:"connect_rate"` // connects begun a second; 0: as many as Pending allows
	Pending     int     `json:"pending"`      // connects under way at once, of all processes together
	Processes   int     `json:"processes"`    // that do the work; 0: as many as are needed

	Warmup   time.Duration `json:"warmup_ns"`
	Duration time.Duration `json:"duration_ns"` // of what is measured; 0: until Limit
	Limit    uint64        `json:"limit"`       // messages to send; 0: until Duration
	Patience time.Duration `json:"patience_ns"` // how long an answer, or what is under way, may take
	Interval time.Duration `json:"interval_ns"` // of Result.Series
	PIDs     []int         `json:"pids,omitempty"`
	Allow    Allowance     `json:"allow"`
}

// TLS says how a broker proves who it is, and a client.
type TLS struct {
	CA         string `json:"ca,omitempty"` // files
	Cert       string `json:"cert,omitempty"`
	Key        string `json:"key,omitempty"`
	ServerName string `json:"server_name,omitempty"`
	Insecure   bool   `json:"insecure,omitempty"` // any certificate will do
}

// Verb is what clients do.
type Verb string

const (
	Conn     Verb = "conn"     // connect, and hold the connections
	Pub      Verb = "pub"      // publish, for subscribers elsewhere
	Sub      Verb = "sub"      // subscribe, for publishers elsewhere
	P2P      Verb = "p2p"      // publisher i to subscriber i
	FanIn    Verb = "fanin"    // many publishers to few subscribers
	FanOut   Verb = "fanout"   // few publishers to many subscribers
	ShareSub Verb = "sharesub" // many publishers to a share group
	Offline  Verb = "offline"  // for sessions that are not connected, which then are
)

// Verbs are all of them.
var Verbs = []Verb{Conn, Pub, Sub, P2P, FanIn, FanOut, ShareSub, Offline}

// MinSize is the least that a payload has room for: who sent it, which number it has
// among its publisher's, and when it was due.
const MinSize = 16

// PerSource is how many connections come from one source address: beyond it the
// kernel's search for a free port costs more than the connection.
const PerSource = 13_000

// Layout is how a run is spread over processes and addresses; what has to be checked
// before it starts follows from it.
type Layout struct {
	Processes   int `json:"processes"`
	Connections int `json:"connections"` // in the fullest process
	Files       int `json:"files"`       // descriptors that the fullest process needs
	Sources     int `json:"sources"`     // addresses that connections come from; 0: the kernel's choice
	PerSource   int `json:"per_source"`  // connections from the address with the most
	Total       int `json:"total"`       // connections of all
}
