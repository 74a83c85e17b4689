package config

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dunlin/node/auth/certificate"
	"dunlin/node/listen/websocket"
	"dunlin/router"
)

// Settings are all leaves of c, in the order in which help and `config show`
// print them, bound to c.
func Settings(c *Config) []Setting {
	const many = math.MaxInt32
	l := &c.Limits
	return slices.Concat(
		in("Node",
			text("node-name", &c.NodeName, "1 to 64 of a-z, A-Z, 0-9, '.', '-', '_', not beginning with '.' or '-'", validName,
				"Name of the node in logs and the API, unique within the cluster"),
			text("data-dir", &c.DataDir, "a path", func(v string) bool { return v != "" },
				"Directory of the node's own data and of admin.sock, created with mode 0700").as("path"),
		),
		in("Listeners",
			optionalAddress("mqtt-addr", &c.MQTTAddr,
				"Address for MQTT over TCP; beyond loopback it needs auth, or --allow-anonymous"),
			optionalAddress("mqtts-addr", &c.MQTTSAddr, "Address for MQTT over TLS, by convention port 8883; beyond loopback it needs auth, or --allow-anonymous"),
			optionalAddress("ws-addr", &c.WSAddr, "Address for MQTT over WebSocket, as browsers speak it; beyond loopback it needs auth, or --allow-anonymous"),
			optionalAddress("wss-addr", &c.WSSAddr, "Address for MQTT over WebSocket and TLS; beyond loopback it needs auth, or --allow-anonymous"),
			optionalAddress("http-addr", &c.HTTPAddr,
				"Address for health, metrics, API and status page; beyond loopback it serves health and metrics only"),
			toggle("allow-anonymous", &c.AllowAnonymous,
				"Let clients in without credentials: on listeners beyond loopback, and where auth is set"),
		),
		in("TLS",
			list("tls.cert", &c.TLS.Certs, "paths, with commas between", isPathName,
				"PEM certificates for clients, each with those that lead to its authority; several are chosen among by the name that the client asks for"),
			list("tls.key", &c.TLS.Keys, "paths, with commas between", isPathName, "PEM keys of these certificates, in the same order"),
			file("tls.client-ca", &c.TLS.ClientCA, "PEM certificates of the authorities that sign clients' certificates"),
			choice("tls.client-auth", &c.TLS.ClientAuth, []ClientAuth{ClientAuthNone, ClientAuthRequest, ClientAuthRequire},
				"Whether clients are asked for a certificate, and have to have one"),
			choice("tls.min-version", &c.TLS.MinVersion, []string{"1.2", "1.3"}, "Oldest version of TLS that is spoken"),
		),
		in("WebSocket",
			text("websocket.path", &c.WebSocket.Path, "a path, such as /mqtt", isPath, "Path at which WebSockets are opened"),
			list("websocket.origins", &c.WebSocket.Origins,
				"same-host, null, *, or origins such as https://app.example.com or https://*.example.com, with commas between", isOrigin,
				"Pages that may open a WebSocket, by their origin; clients that are no browsers are not held to it"),
		),
		in("PROXY protocol",
			networks("proxy-protocol.mqtt", &c.ProxyProtocol.MQTT, "mqtt-addr"),
			networks("proxy-protocol.mqtts", &c.ProxyProtocol.MQTTS, "mqtts-addr"),
			networks("proxy-protocol.ws", &c.ProxyProtocol.WS, "ws-addr"),
			networks("proxy-protocol.wss", &c.ProxyProtocol.WSS, "wss-addr"),
		),
		in("Cluster",
			address("gossip-addr", &c.GossipAddr, "Address for membership gossip, TCP and UDP"),
			optionalAddress("gossip-advertise-addr", &c.GossipAdvertiseAddr,
				"Gossip address as peers reach it, where it differs from the bound one"),
			address("cluster-addr", &c.ClusterAddr, "Address for the streams between nodes"),
			optionalAddress("cluster-advertise-addr", &c.ClusterAdvertiseAddr,
				"Cluster address as peers reach it, where it differs from the bound one"),
			text("cluster-id", &c.ClusterID, "1 to 64 of a-z, A-Z, 0-9, '.', '-', '_', not beginning with '.' or '-'", validName,
				"Name that all nodes of a cluster share; others are refused"),
			list("join", &c.Join, "gossip addresses host:port, with commas between", isAddress,
				"Gossip addresses of other nodes; without any the node is a cluster of one"),
			number("bootstrap-expect", &c.BootstrapExpect, 0, 99,
				"Nodes that must meet to form a new cluster; 0: 1 without --join, with it only join, never form"),
			number("shards", &c.Shards, 1, 64, "Parts that session state is split into, fixed when the cluster forms"),
			number("replication-factor", &c.ReplicationFactor, 1, 9,
				"Copies of each shard, first value of the cluster's setting"),
			size("snapshot-log-size", &c.SnapshotLogSize, 16<<10, 1<<30,
				"Log of a shard after which it takes a snapshot and cuts the log"),
			file("cluster-tls-cert", &c.ClusterTLS.Cert, "PEM certificate of this node for its peers"),
			file("cluster-tls-key", &c.ClusterTLS.Key, "PEM key of that certificate"),
			file("cluster-tls-ca", &c.ClusterTLS.CA, "PEM certificates that peers' must be signed by"),
			key("gossip-key", &c.GossipKey, "Key that gossip is encrypted with, best as ${FILE:/path}"),
		),
		in("Runtime",
			number("loops", &c.Loops, 0, 255, "Event loops; 0: one per CPU"),
			toggle("portable-loops", &c.PortableLoops, "Use goroutines in place of epoll"),
			duration("connect-timeout", &c.ConnectTimeout, time.Millisecond, 100*time.Millisecond, time.Hour, "",
				"Time from accept to a whole CONNECT"),
			duration("send-timeout", &c.SendTimeout, time.Millisecond, time.Second, 24*time.Hour, "",
				"Time after which a client that takes no byte is closed"),
			duration("shutdown-timeout", &c.ShutdownTimeout, time.Millisecond, 0, time.Hour, "",
				"Time that a graceful stop may take"),
			duration("disk-stall-timeout", &c.DiskStallTimeout, time.Millisecond, 100*time.Millisecond, time.Hour, "",
				"Time after which a write that hangs stops the node, so that others take over"),
		),
		in("Logging",
			level("log-level", &c.LogLevel, "Least level to log"),
			choice("log-format", &c.LogFormat, []string{"text", "json"}, "Form of the log on standard error"),
		),
		in("Limits",
			size("limits.max-packet-size", &l.MaxPacketSize, 256, 256<<20,
				"Largest packet that a client may send, told to 5.0 clients"),
			number("limits.receive-maximum", &l.ReceiveMaximum, 1, math.MaxUint16,
				"QoS 1 and 2 publishes that a client may have in flight, told to 5.0 clients"),
			number("limits.max-inflight", &l.MaxInflight, 1, math.MaxUint16,
				"Deliveries in flight to a client; a 5.0 client's Receive Maximum lowers it"),
			number("limits.topic-alias-maximum", &l.TopicAliasMaximum, 0, math.MaxUint16,
				"Topic aliases that a client may set; 0: none"),
			number("limits.send-topic-alias-maximum", &l.SendTopicAliasMaximum, 0, math.MaxUint16,
				"Topic aliases that the server sets, if the client allows that many; 0: none"),
			duration("limits.max-keepalive", &l.MaxKeepalive, time.Second, time.Second, math.MaxUint16*time.Second,
				"what clients ask for",
				"Longest keep-alive, in whole seconds; told to 5.0 clients that ask for more or for none"),
			duration("limits.max-session-expiry", &l.MaxSessionExpiry, time.Second, time.Second, (math.MaxUint32-1)*time.Second,
				"no bound",
				"Longest life of a session without a connection, in whole seconds, told to 5.0 clients that ask for more"),
			number("limits.max-connections", &l.MaxConnections, 0, many,
				"Connections at one time; 0: as many as there are file descriptors"),
			number("limits.max-sessions", &l.MaxSessions, 1, many, "Sessions held by this node, in each shard its part of them"),
			number("limits.max-subscriptions", &l.MaxSubscriptions, 1, many, "Subscriptions of one session"),
			number("limits.queue-messages", &l.QueueMessages, 1, many, "Messages that wait for one session"),
			size("limits.queue-bytes", &l.QueueBytes, 1<<10, 16<<30, "Bytes that wait for one session"),
			choice("limits.queue-policy", &l.QueuePolicy, []QueuePolicy{DropNewest, DropOldest},
				"What a full queue gives up"),
			size("limits.queue-memory", &l.QueueMemory, 1<<20, 1<<40,
				"Bytes of all queues that this node holds in memory; what is beyond waits in files of data-dir"),
			size("limits.max-unsent", &l.MaxUnsent, 64<<10, 1<<30,
				"Bytes held for a connection that does not keep up, before it is closed"),
			number("limits.retained-messages", &l.RetainedMessages, 0, many, "Retained messages, in each shard its part of them"),
			size("limits.retained-bytes", &l.RetainedBytes, 0, 1<<40, "Bytes of retained messages"),
		),
		in("Access",
			file("auth.users-file", &c.Auth.UsersFile,
				"File of users, name:hash on each line as dunlin user passwd writes it; clients then have to be one of them"),
			choice("auth.certificate", &c.Auth.Certificate,
				[]certificate.Rule{CertificateNone, certificate.CommonName, certificate.DNS, certificate.Email, certificate.URI},
				"Where a client's verified certificate names its user, who then needs no password"),
			file("acl.file", &c.ACL.File,
				"File of rules that say who may publish and subscribe to what; without it nobody may anything where auth is set, else everybody all"),
			list("acl.deny-filters", &c.ACL.DenyFilters, "topic filters", isFilter,
				"Filters that nobody may subscribe to"),
		),
	)
}

func isPathName(s string) bool { return s != "" && !strings.ContainsRune(s, 0) }

// isFilter leaves the judgment to the router's parser, which alone knows.
func isFilter(s string) bool {
	_, err := router.ParseFilter([]byte(s))
	return err == nil
}

// isPath holds for what a request can name: printable, and without a query.
func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '?' || r == '#' })
}

func isOrigin(s string) bool {
	_, err := websocket.ParseOrigins([]string{s})
	return err == nil
}

// networks is the proxies before a listener.
func networks(key string, p *[]netip.Prefix, listener string) Setting {
	valid := func(ns []netip.Prefix) bool {
		return !slices.ContainsFunc(ns, func(n netip.Prefix) bool { return !n.IsValid() || n != n.Masked() })
	}
	return Setting{
		Key: key, Kind: "list", Allowed: "networks such as 10.0.0.0/8 (not 10.0.0.1/8) or addresses such as 192.0.2.7, with commas between", List: true,
		Help: "Networks of the proxies before " + listener + ": each connection must then come from one of them and begin with a PROXY header",
		get: func() string {
			var b strings.Builder
			for k, n := range *p {
				if k > 0 {
					b.WriteByte(',')
				}
				b.WriteString(n.String())
			}
			return b.String()
		},
		set: func(v string) bool {
			var ns []netip.Prefix
			for _, e := range strings.Split(v, ",") {
				if e = strings.TrimSpace(e); e == "" {
					continue
				}
				n, ok := parseNetwork(e)
				if !ok {
					return false
				}
				ns = append(ns, n)
			}
			*p = ns
			return true
		},
		valid: func() bool { return valid(*p) },
	}
}

// parseNetwork reads a network whose address has no bits behind its length, which is
// mostly a slip of the pen, or an address alone.
func parseNetwork(s string) (netip.Prefix, bool) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), true
	}
	n, err := netip.ParsePrefix(s)
	return n, err == nil && n == n.Masked()
}

// in puts settings under a heading.
func in(group string, ss ...Setting) []Setting {
	for i := range ss {
		ss[i].Group = group
	}
	return ss
}
