package main

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/client"
	"dunlin/proto/mqtt"
)

// connection is the flags that pub and sub share; they are named as in
// mosquitto_pub and mosquitto_sub.
type connection struct {
	host     string
	port     uint16
	ws       string
	id       string
	user     string
	password string
	version  protocol
	keep     uint16
	qos      uint8
	keepSess bool
	expiry   uint32
	timeout  time.Duration

	willTopic   string
	willPayload string
	willQoS     uint8
	willRetain  bool

	security
}

// usualPort is where brokers are by convention.
func usualPort(secured, webSocket bool) uint16 {
	switch {
	case secured && webSocket:
		return 8084
	case webSocket:
		return 8083
	case secured:
		return 8883
	}
	return 1883
}

func (c *connection) bind(cmd *cobra.Command) {
	c.version = protocol(mqtt.V5)
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Bool("help", false, "show this help") // -h is the host, as in mosquitto's tools
	flags.StringVarP(&c.host, "host", "h", "127.0.0.1", "the broker's `host`")
	flags.Uint16VarP(&c.port, "port", "p", 1883, "the broker's `port`; without it 8883 with TLS, 8083 with --ws, 8084 with both")
	flags.StringVar(&c.ws, "ws", "", "use WebSocket; =`/path` where it is not /mqtt")
	flags.Lookup("ws").NoOptDefVal = "/mqtt"
	flags.StringVarP(&c.id, "id", "i", "", "client `identifier`; without one the broker assigns one")
	flags.StringVarP(&c.user, "username", "u", "", "user `name`")
	flags.StringVarP(&c.password, "pw", "P", "", "`password`; MQTT_PASSWORD keeps it out of the process list")
	flags.VarP(&c.version, "protocol-version", "V", "MQTT version: 5, 311 or 31")
	flags.Uint8VarP(&c.qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	flags.Uint16VarP(&c.keep, "keepalive", "k", 60, "keep-alive in `seconds`; 0: none")
	flags.BoolVarP(&c.keepSess, "disable-clean-session", "c", false, "keep the session when the connection ends; wants -i")
	flags.Uint32VarP(&c.expiry, "session-expiry-interval", "x", 0, "how long the session lives on, in `seconds` (5.0)")
	flags.DurationVar(&c.timeout, "connect-timeout", 10*time.Second, "how long to wait for the connection")
	flags.StringVar(&c.willTopic, "will-topic", "", "`topic` of the will")
	flags.StringVar(&c.willPayload, "will-payload", "", "`message` of the will")
	flags.Uint8Var(&c.willQoS, "will-qos", 0, "quality of service of the will")
	flags.BoolVar(&c.willRetain, "will-retain", false, "retain the will")
	c.security.bind(flags)
}

// passwordEnv gives the password without -P. It does not begin with DUNLIN_, for
// it is no setting of a node.
const passwordEnv = "MQTT_PASSWORD"

// options checks the flags and turns them into a client's.
func (c *connection) options(cmd *cobra.Command) (client.Options, error) {
	none := client.Options{}
	for _, q := range []struct {
		flag  string
		value uint8
	}{{"-q, --qos", c.qos}, {"--will-qos", c.willQoS}} {
		if q.value > 2 {
			return none, wrongUsage("%s: \"%d\" is not allowed: want 0, 1 or 2", q.flag, q.value)
		}
	}
	if _, err := netip.ParseAddr(c.host); err != nil && strings.ContainsAny(c.host, ":/") {
		return none, wrongUsage("-h, --host: %q is not allowed: want a host alone, for -p is the port, and --tls and --ws are how to speak", c.host)
	}
	if c.keepSess && c.id == "" {
		return none, wrongUsage("a session can only be kept under an identifier: want -i")
	}
	if c.willTopic == "" && (c.willPayload != "" || c.willQoS != 0 || c.willRetain) {
		return none, wrongUsage("a will needs --will-topic")
	}
	if c.ws != "" && (c.ws[0] != '/' || strings.ContainsFunc(c.ws, func(r rune) bool { return r <= ' ' || r >= 0x7f })) {
		return none, wrongUsage("--ws: %q is not allowed: want a path, such as /mqtt", c.ws)
	}
	conf, err := c.config(c.host)
	if err != nil {
		return none, err
	}
	if conf != nil && c.ws != "" {
		conf.NextProtos = []string{"http/1.1"} // it is HTTP that begins
	}
	if !cmd.Flags().Changed("port") {
		c.port = usualPort(conf != nil, c.ws != "")
	}
	o := client.Options{
		Addr:        net.JoinHostPort(c.host, strconv.Itoa(int(c.port))),
		TLS:         conf,
		WebSocket:   c.ws,
		Version:     mqtt.Version(c.version),
		ClientID:    c.id,
		Username:    c.user,
		Password:    c.password,
		HasUsername: cmd.Flags().Changed("username"),
		HasPassword: cmd.Flags().Changed("pw"),
		CleanStart:  !c.keepSess,
		KeepAlive:   time.Duration(c.keep) * time.Second,
	}
	if p, ok := os.LookupEnv(passwordEnv); ok && !o.HasPassword {
		o.Password, o.HasPassword = p, true
	}
	if o.HasPassword && !o.HasUsername && o.Version != mqtt.V5 {
		return none, wrongUsage("before MQTT 5.0 a password needs a user name: want -u")
	}
	if o.ClientID == "" && o.Version == mqtt.V31 {
		o.ClientID = "dunlin-" + rand.Text()[:16] // 3.1 has no empty identifier, and 23 characters at most
	}
	if o.Version == mqtt.V5 {
		o.SessionExpiry = c.expiry
		if c.keepSess && !cmd.Flags().Changed("session-expiry-interval") {
			o.SessionExpiry = 0xFFFFFFFF // as a kept session before 5.0
		}
	}
	if c.willTopic != "" {
		o.Will = &mqtt.Will{
			Topic: []byte(c.willTopic), Payload: []byte(c.willPayload), QoS: mqtt.QoS(c.willQoS), Retain: c.willRetain,
		}
	}
	return o, nil
}

// connect connects within --connect-timeout.
func (c *connection) connect(ctx context.Context, o client.Options) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return client.Connect(ctx, o)
}

// protocol is the flag -V.
type protocol mqtt.Version

func (p *protocol) String() string { return mqtt.Version(*p).String() }
func (p *protocol) Type() string   { return "version" }
func (p *protocol) Set(s string) error {
	switch s {
	case "5", "5.0", "mqttv5":
		*p = protocol(mqtt.V5)
	case "311", "3.1.1", "mqttv311":
		*p = protocol(mqtt.V311)
	case "31", "3.1", "mqttv31":
		*p = protocol(mqtt.V31)
	default:
		return wrongUsage("want 5, 311 or 31")
	}
	return nil
}
