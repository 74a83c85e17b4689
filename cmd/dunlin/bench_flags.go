package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/proto/mqtt"
)

// benchFlags is the flags of one kind of load. Letters and names are those of
// emqtt-bench where both have them; its names with underscores are understood too.
type benchFlags struct {
	verb   benchVerb
	groups []flagGroup

	hosts, publishHosts []string
	port                uint16
	ssl, ws             bool
	ifaddr              string
	version             level
	password            string
	keep                uint16
	clean               truth
	connectEvery        float64 // milliseconds
	count               int
	others              int // --subscribers or --publishers
	every               float64
	flatOut             bool
	perSession          uint64
	output              benchOutput
	load.Config
}

// flagGroup is flags that the help shows together.
type flagGroup struct {
	title string
	*pflag.FlagSet
}

func (b *benchFlags) group(title string) *pflag.FlagSet {
	f := pflag.NewFlagSet(title, pflag.ContinueOnError)
	f.SortFlags = false
	b.groups = append(b.groups, flagGroup{title, f})
	return f
}

func (b *benchFlags) bind(cmd *cobra.Command) {
	v := b.verb
	b.version, b.clean = level{protocol(mqtt.V5)}, truth(v.clean)

	f := b.group("Clients")
	f.IntVarP(&b.count, "count", "c", v.counts, "`number` of "+v.count)
	if v.subscribers > 0 {
		f.IntVar(&b.others, "subscribers", v.subscribers, "`number` of subscribers")
	}
	if v.publishers > 0 {
		f.IntVar(&b.others, "publishers", v.publishers, "`number` of publishers")
	}
	f.Float64VarP(&b.ConnectRate, "connrate", "R", 1000, "`connects` begun a second; 0: as many as --pending allows")
	f.Float64VarP(&b.connectEvery, "interval", "i", 0, "the same, as `milliseconds` from one connect to the next")
	f.IntVar(&b.Pending, "pending", 256, "connects under way at once, at most; of conn --churn all clients' are")
	f.StringVar(&b.Prefix, "prefix", "bench-"+strings.ToLower(rand.Text()[:6])+"-", "what client `identifiers` begin with; pub-0, sub-0 or conn-0 follows")
	f.IntVarP(&b.First, "startnumber", "n", 0, "`number` of the first client")
	f.Uint16VarP(&b.keep, "keepalive", "k", 300, "keep-alive in `seconds`; 0: none")
	if v.subscribes && v.verb != load.Offline && v.verb != load.Conn {
		f.VarP(&b.clean, "clean", "C", "whether sessions begin anew and end with their connections; else they are kept until the run ends")
	}
	if v.subscribes && v.verb != load.Conn {
		f.Uint32VarP(&b.Expiry, "session-expiry", "x", v.expiry, "how long a session that is kept outlives its connection, in `seconds` (5.0)")
	}
	f.VarP(&b.version, "version", "V", "MQTT version: 5, 4 (or 311) or 3 (or 31)")
	f.StringVarP(&b.Username, "username", "u", "", "user `name`; %i is the client's number")
	f.StringVarP(&b.password, "password", "P", "", "`password`; MQTT_PASSWORD keeps it out of the process list")
	if v.verb == load.Conn || v.verb == load.Sub {
		f.BoolVar(&b.Churn, "churn", false, map[load.Verb]string{
			load.Conn: "leave once connected and come again, over and over", load.Sub: "subscribe and unsubscribe, over and over",
		}[v.verb])
	}

	b.bindMessages()

	f = b.group("Broker")
	f.StringSliceVarP(&b.hosts, "host", "h", []string{"127.0.0.1"}, "`hosts`, each with or without :port, that clients connect to in turn")
	if v.publishes {
		f.StringSliceVar(&b.publishHosts, "publish-host", nil, "the same for publishers, if theirs are others: `hosts`")
	}
	f.Uint16VarP(&b.port, "port", "p", 0, "`port` of hosts without one; 0: 1883, 8883 with TLS, 8083 with WebSocket, 8084 with both")
	f.BoolVarP(&b.ssl, "ssl", "S", false, "TLS, which the flags of certificates ask for too")
	f.BoolVar(&b.ws, "ws", false, "WebSocket")
	f.StringVar(&b.Path, "path", "/mqtt", "`path` of WebSockets")
	f.StringVar(&b.TLS.CA, "cacertfile", "", "`file` of authorities that vouch for the broker; default: the system's")
	f.StringVar(&b.TLS.Cert, "certfile", "", "`file` of the clients' certificate")
	f.StringVar(&b.TLS.Key, "keyfile", "", "`file` of its key")
	f.StringVar(&b.TLS.ServerName, "server-name", "", "`name` in the broker's certificate; default: the host")
	f.BoolVar(&b.TLS.Insecure, "insecure", false, "accept any certificate")

	f = b.group("This machine")
	f.StringVar(&b.ifaddr, "ifaddr", "", "source `addresses`, such as 127.0.1.1-127.0.1.60,127.0.3.1; at most 13,000 connections from each are cheap")
	f.IntVar(&b.Processes, "processes", 0, "processes that do the work; 0: as many as the limit on open files asks for")

	f = b.group("Run")
	warmup := time.Second
	if v.duration == 0 {
		warmup = 0
	}
	end := "0: until --limit, or ctrl-C"
	if v.measuredByEnd {
		end = "0: until all is done"
	}
	f.DurationVar(&b.Duration, "duration", v.duration, "time that is measured; "+end)
	f.DurationVar(&b.Warmup, "warmup", warmup, "time under load before it")
	f.DurationVar(&b.Patience, "patience", 10*time.Second, "how long an answer, or a message under way, may take")
	f.IntSliceVar(&b.PIDs, "pid", nil, "broker `processes` whose processor time and memory are measured")
	b.output.bind(f)
	f.Uint64Var(&b.Allow.Lost, "allow-lost", 0, "`messages` that may be lost or not acknowledged")
	f.Uint64Var(&b.Allow.Duplicates, "allow-duplicates", 0, "`messages` that may come twice")
	f.Uint64Var(&b.Allow.Reordered, "allow-reordered", 0, "`messages` that may be out of order")
	f.Uint64Var(&b.Allow.Failures, "allow-failures", 0, "connections and requests that may fail: `number`")
	f.Bool("help", false, "show this help") // -h is the host, as in emqtt-bench

	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	for _, g := range b.groups {
		flags.AddFlagSet(g.FlagSet)
	}
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
		for _, g := range b.groups {
			fmt.Fprintf(out, "\n%s:\n%s", g.title, g.FlagUsages())
		}
		return nil
	})
}

// bindMessages binds the flags about what is published and subscribed to.
func (b *benchFlags) bindMessages() {
	v := b.verb
	f := b.group("Messages")
	f.Uint8VarP(&b.QoS, "qos", "q", v.qos, "quality of service of publications and subscriptions: 0, 1 or 2")
	if v.verb == load.Conn {
		f.StringVar(&b.Filter, "subscribe", "", "`filter` that each client subscribes to; %i is its number, %c its identifier, %u the user name")
		f.StringVarP(&b.Filter, "topic", "t", "", "the same: `filter`")
		f.IntVar(&b.Each, "publish-every", 0, "send a message to every `N`'th client, which it must get; wants --subscribe")
		f.Float64Var(&b.Rate, "rate", 0, "`messages` of these a second; 0: all at once")
	} else {
		f.StringVarP(&b.Topic, "topic", "t", v.topic, "`topic`; %i is the client's number, %c its identifier, %u the user name")
	}
	if v.publishes && v.subscribes {
		f.StringVar(&b.Filter, "filter", "", "`filter` of subscribers; default: the topic, with + for what differs between publishers")
	}
	if v.verb == load.ShareSub {
		f.StringVar(&b.Group, "group", "bench", "`name` of the share group")
	}
	b.Size = 256
	if v.publishes || v.verb == load.Conn {
		f.IntVarP(&b.Size, "size", "s", 256, fmt.Sprintf("`bytes` of a payload, at least %d", load.MinSize))
	}
	if !v.publishes {
		return
	}
	f.BoolVarP(&b.Retain, "retain", "r", false, "retain messages")
	if v.closed {
		f.Uint64Var(&b.perSession, "messages", 10, "`messages` for each session")
	} else {
		f.Float64VarP(&b.every, "interval-of-msg", "I", 1000, "`milliseconds` from one message of a publisher to its next")
		f.Float64Var(&b.Rate, "rate", 0, "the same, as `messages` a second of all publishers together")
		f.BoolVar(&b.FromWrite, "latency-from-write", false, "count latencies from the write, not from when a message was due")
		f.BoolVar(&b.flatOut, "flat-out", false, "publish as fast as --inflight allows")
		f.Uint64VarP(&b.Limit, "limit", "L", 0, "`messages` to send in all; 0: until --duration")
	}
	f.IntVarP(&b.Window, "inflight", "F", 20, "`messages` of a publisher under way at once: not acknowledged, or with QoS 0 not delivered")
	f.IntVar(&b.Batch, "batch", 1, "`messages` in one write, at most")
}

// config is what the flags ask for.
func (b *benchFlags) config(cmd *cobra.Command) (c load.Config, err error) {
	given := cmd.Flags().Changed
	v := b.verb
	c = b.Config
	c.Verb, c.Version, c.Clean, c.Password = v.verb, mqtt.Version(b.version.protocol), bool(b.clean), b.password
	c.KeepAlive = time.Duration(b.keep) * time.Second
	if p, ok := os.LookupEnv(passwordEnv); ok && !given("password") {
		c.Password = p
	}
	c.Transport = map[[2]bool]string{{}: "tcp", {true, false}: "tls", {false, true}: "ws", {true, true}: "wss"}[[2]bool{b.ssl || b.TLS != load.TLS{}, b.ws}]
	if c.Brokers, err = b.addresses(b.hosts, c.Transport); err != nil {
		return c, err
	}
	if c.PublishTo, err = b.addresses(b.publishHosts, c.Transport); err != nil {
		return c, err
	}
	if b.ifaddr != "" {
		if c.Sources, err = load.ParseSources(b.ifaddr); err != nil {
			return c, wrongUsage("--ifaddr: %w", err)
		}
	}
	if b.connectEvery > 0 && !given("connrate") {
		c.ConnectRate = 1000 / b.connectEvery
	}
	switch v.verb {
	case load.Pub:
		c.Publishers = b.count
	case load.Conn, load.Sub:
		c.Subscribers = b.count
	case load.P2P:
		c.Publishers, c.Subscribers = b.count, b.count
	case load.FanIn, load.ShareSub:
		c.Publishers, c.Subscribers = b.count, b.others
	case load.FanOut, load.Offline:
		c.Publishers, c.Subscribers = b.others, b.count
	}
	switch {
	case v.verb == load.Offline:
		c.Limit = b.perSession * uint64(b.count)
		c.Publishers = min(c.Publishers, c.Subscribers)
	case v.publishes && b.flatOut && (given("rate") || given("interval-of-msg")):
		return c, wrongUsage("--flat-out knows no --rate and no --interval-of-msg: want one of them")
	case v.publishes && b.flatOut:
		c.Rate = 0
	case v.publishes && !given("rate"):
		if b.every <= 0 {
			return c, wrongUsage("-I, --interval-of-msg: \"%v\" is not allowed: want more than 0, or --flat-out", b.every)
		}
		c.Rate = float64(c.Publishers) * 1000 / b.every
	}
	if c.Limit > 0 && !given("duration") {
		c.Duration = 0
	}
	if c.Limit > 0 && !given("warmup") {
		c.Warmup = 0
	}
	if !given("inflight") {
		c.Window = max(c.Window, c.Batch)
	}
	if c.Churn && c.Duration == 0 {
		c.Duration = 10 * time.Second
	}
	if c.Expiry == 0 && !c.Clean && v.subscribes {
		c.Expiry = 3600
	}
	if err := c.Check(); err != nil {
		var wrong *load.UsageError
		if errors.As(err, &wrong) {
			return c, &usageError{err}
		}
		return c, err
	}
	return c, nil
}

// addresses are hosts with their ports.
func (b *benchFlags) addresses(hosts []string, transport string) (all []string, err error) {
	port := b.port
	if port == 0 {
		port = map[string]uint16{"tcp": 1883, "tls": 8883, "ws": 8083, "wss": 8084}[transport]
	}
	for _, h := range hosts {
		host, p, err := net.SplitHostPort(h)
		if err != nil {
			host, p = strings.Trim(h, "[]"), strconv.Itoa(int(port))
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || host == "" {
			return nil, wrongUsage("-h, --host: %q is not allowed: want host or host:port", h)
		}
		all = append(all, net.JoinHostPort(host, p))
	}
	return all, nil
}

// level is the flag -V, which is also understood as emqtt-bench counts: as the number
// on the wire.
type level struct{ protocol }

func (l *level) Set(s string) error {
	switch s {
	case "3":
		s = "31"
	case "4":
		s = "311"
	}
	if l.protocol.Set(s) != nil {
		return wrongUsage("want 5, 4 (3.1.1) or 3 (3.1)")
	}
	return nil
}

// truth is a flag that is true or false and says so, as emqtt-bench's.
type truth bool

func (t *truth) String() string { return strconv.FormatBool(bool(*t)) }
func (t *truth) Type() string   { return "true|false" }
func (t *truth) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return wrongUsage("want true or false")
	}
	*t = truth(b)
	return nil
}
