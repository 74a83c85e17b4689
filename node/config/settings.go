package config

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dunlin/node/auth/certificate"
	"dunlin/node/auth/jwt"
	"dunlin/node/auth/webhook"
	"dunlin/node/limit"
	"dunlin/node/listen/websocket"
	"dunlin/router"
)

// Settings are all leaves of c, in the order in which help and `config show`
// print them, bound to c.
func Settings(c *Config) []Setting {
	const many = math.MaxInt32
	l, h := &c.Limits, &c.Auth.Webhook
	a := &l.Admission
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
				"Address for health, metrics, API and status page; beyond loopback it wants http.tls-cert, and a token for the last two"),
			text("server-reference", &c.ServerReference, "up to 256 bytes in one line, such as mqtt.example.com:8883", isReference,
				"Where 5.0 clients are told to go that the node sends elsewhere, as when it is drained: best the load balancer's address, or several with spaces between").as("servers"),
			toggle("allow-anonymous", &c.AllowAnonymous,
				"Let clients in without credentials: on listeners beyond loopback, and where auth is set"),
		),
		in("HTTP",
			file("http.tls-cert", &c.HTTP.Cert, "PEM certificate of http-addr, with those that lead to its authority; http-addr then speaks TLS only"),
			file("http.tls-key", &c.HTTP.Key, "PEM key of that certificate"),
			toggle("http.plaintext", &c.HTTP.Plaintext,
				"Serve API and page beyond loopback without TLS too, so that tokens cross the network in the clear"),
			file("http.token-file", &c.HTTP.TokenFile,
				"File of tokens for the API beside those of dunlin token create: a token, or name:scope:token on each line"),
			list("http.open", &c.HTTP.Open, "health, metrics, or both with a comma between",
				func(v string) bool { return v == OpenHealth || v == OpenMetrics },
				"What http-addr serves without a token beyond loopback"),
		),
		in("TLS",
			list("tls.cert", &c.TLS.Certs, "paths, with commas between", isPathName,
				"PEM certificates for clients, each with those that lead to its authority; several are chosen among by the name that the client asks for"),
			list("tls.key", &c.TLS.Keys, "paths, with commas between", isPathName, "PEM keys of these certificates, in the same order"),
			file("tls.client-ca", &c.TLS.ClientCA, "PEM certificates of the authorities that sign clients' certificates"),
			list("tls.crl-file", &c.TLS.CRLFiles, "paths, with commas between", isPathName,
				"PEM or DER lists of the clients' certificates that these authorities, and those between, have revoked"),
			choice("tls.crl-unlisted", &c.TLS.CRLUnlisted, []Unlisted{UnlistedRefuse, UnlistedAccept},
				"What becomes of certificates of whose issuer tls.crl-file has no list, or only one that is out of date"),
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
			proxies("proxy-protocol.mqtt", &c.ProxyProtocol.MQTT, "mqtt-addr"),
			proxies("proxy-protocol.mqtts", &c.ProxyProtocol.MQTTS, "mqtts-addr"),
			proxies("proxy-protocol.ws", &c.ProxyProtocol.WS, "ws-addr"),
			proxies("proxy-protocol.wss", &c.ProxyProtocol.WSS, "wss-addr"),
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
			text("cluster-tls-name", &c.ClusterTLS.Name, "a DNS name, or nothing", func(v string) bool { return v == "" || validName(v) },
				"DNS name that the certificates of peers, and this node's, must have; for a CA that signs for others too").as("name"),
			key("gossip-key", &c.GossipKey, "Key that gossip is encrypted with, best as ${FILE:/path}"),
			file("gossip-key-file", &c.GossipKeyFile,
				"File of such keys in place of gossip-key, one on each line, read again when it changes: the first encrypts, each decrypts"),
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
		in("Audit",
			toggle("audit.enabled", &c.Audit.Enabled, "Write down who changed what of the cluster and of who may use it, and who was refused"),
			file("audit.file", &c.Audit.File, "File for that, in JSON; the node's log if there is none"),
			size("audit.max-size", &c.Audit.MaxSize, 1<<10, 1<<40, "Size of the file after which it is put aside"),
			number("audit.keep", &c.Audit.Keep, 0, 1000, "Files put aside that are kept"),
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
			number("limits.message-rate", &l.MessageRate, 0, many,
				"Packets a second that a client may send, a second's worth of them at once; 0: any number"),
			size("limits.byte-rate", &l.ByteRate, 0, 1<<40, "Bytes a second that a client may send, a second's worth of them at once; 0: any number"),
			choice("limits.rate-action", &l.RateAction, []RateAction{RatePause, RateDisconnect},
				"What becomes of a client that sends faster: it waits, or is disconnected when it has had to for ten seconds"),
			number("limits.max-topic-length", &l.MaxTopicLength, 1, router.MaxBytes, "Bytes of a topic or filter"),
			number("limits.max-topic-levels", &l.MaxTopicLevels, 1, router.MaxLevels, "Levels of a topic or filter"),
			number("limits.max-connections", &l.MaxConnections, 0, many,
				"Connections at one time; 0: as many as there are file descriptors for, but for some that the node needs"),
			number("limits.max-sessions", &l.MaxSessions, 1, many, "Sessions held by this node, in each shard its part of them"),
			number("limits.max-user-sessions", &l.MaxUserSessions, 0, many,
				"Sessions of one user in the cluster, beside connections that need no session; 0: any number"),
			number("limits.max-subscriptions", &l.MaxSubscriptions, 1, many, "Subscriptions of one session"),
			number("limits.max-node-subscriptions", &l.MaxNodeSubscriptions, 1, many, "Subscriptions of all sessions that are connected to this node"),
			number("limits.queue-messages", &l.QueueMessages, 1, many, "Messages that wait for one session"),
			size("limits.queue-bytes", &l.QueueBytes, 1<<10, 16<<30, "Bytes that wait for one session"),
			choice("limits.queue-policy", &l.QueuePolicy, []QueuePolicy{DropNewest, DropOldest},
				"What a full queue gives up"),
			size("limits.queue-memory", &l.QueueMemory, 1<<20, 1<<40,
				"Bytes of all queues that this node holds in memory; what is beyond waits in files of data-dir"),
			size("limits.max-unsent", &l.MaxUnsent, 64<<10, 1<<30,
				"Bytes held for a connection that does not keep up, before it is closed"),
			size("limits.buffer-memory", &l.BufferMemory, 64<<20, 1<<40,
				"Bytes held for all connections of this node, half of them for sockets, half in queues of sessions that end with their connection"),
			number("limits.retained-messages", &l.RetainedMessages, 0, many, "Retained messages, in each shard its part of them"),
			size("limits.retained-bytes", &l.RetainedBytes, 0, 1<<40, "Bytes of retained messages"),
			size("limits.memory", &l.Memory, 0, 1<<50, "Bytes that the process may take, which collects garbage the more often the nearer it comes; 0: any number"),
			number("limits.memory-high-water", &l.MemoryHighWater, 1, 100,
				"Percent of limits.memory in use from which nothing more is stored, and nobody let in; 100: never"),
			size("limits.disk-reserve", &l.DiskReserve, 0, 1<<40,
				"Bytes that are to be free at data-dir, or a twentieth of its file system if that is less; with less nothing more is stored, and nobody let in; 0: any number"),
		),
		in("Admission",
			number("limits.mqtt-connections", &a.Listeners.MQTT, 0, many, "Connections at mqtt-addr at one time; 0: no bound of its own"),
			number("limits.mqtts-connections", &a.Listeners.MQTTS, 0, many, "Connections at mqtts-addr at one time; 0: no bound of its own"),
			number("limits.ws-connections", &a.Listeners.WS, 0, many, "Connections at ws-addr at one time; 0: no bound of its own"),
			number("limits.wss-connections", &a.Listeners.WSS, 0, many, "Connections at wss-addr at one time; 0: no bound of its own"),
			number("limits.connections-per-address", &a.ConnectionsPerAddress, 0, many,
				"Connections from one address at one time, of IPv6 from one /64; 0: no bound"),
			number("limits.connections-per-user", &a.ConnectionsPerUser, 0, many, "Connections of one user at one time; 0: no bound"),
			number("limits.connect-rate", &a.ConnectRate, 0, many, "Connections that may come to the node in a second; 0: no bound"),
			number("limits.connect-rate-per-address", &a.ConnectRatePerAddress, 0, many,
				"Connections that may come from one address in a second; 0: no bound"),
			number("limits.connect-rate-per-user", &a.ConnectRatePerUser, 0, many,
				"Clients of one user that may connect in a second; 0: no bound"),
			duration("limits.connect-burst", &a.ConnectBurst, time.Millisecond, 100*time.Millisecond, time.Hour, "",
				"Time for which connects that did not come are saved up, to come at once"),
			number("limits.failed-logins", &a.FailedLogins, 0, 1000,
				"Wrong passwords of one user from one address, after which he has to wait before each further one; 0: never"),
			duration("limits.max-login-backoff", &a.MaxLoginBackOff, time.Second, time.Second, 24*time.Hour, "",
				"Longest of these waits, which begin with a second and double"),
			number("limits.failed-logins-per-address", &a.FailedLoginsPerAddress, 0, many,
				"Wrong passwords from one address in a minute, whoever's; 0: no bound"),
			number("limits.flapping", &a.Flapping, 0, many,
				"Connects of one client identifier within flapping-window, beyond which it is banned for a while; 0: no bound"),
			duration("limits.flapping-window", &a.FlappingWindow, time.Second, time.Second, 24*time.Hour, "", "Time in which these connects are counted"),
			duration("limits.flapping-ban", &a.FlappingBan, time.Second, time.Second, 24*time.Hour, "", "Time for which it is banned"),
			networks("limits.trusted-addresses", &a.TrustedAddresses,
				"Networks in which an address says nothing of a client, as of load balancers without PROXY protocol: no limit by address holds there"),
			duration("limits.max-loop-delay", &a.MaxLoopDelay, time.Millisecond, 10*time.Millisecond, time.Minute, "any",
				"Time that an event loop may be late for a second before new connections are refused"),
		),
		in("Access",
			file("auth.users-file", &c.Auth.UsersFile,
				"File of users, name:hash on each line as dunlin user passwd writes it; clients then have to be one of them"),
			toggle("auth.store", &c.Auth.Store,
				"Let users of the cluster's store in, whom dunlin user adds; clients then have to be one of them, or of auth.users-file"),
			choice("auth.certificate", &c.Auth.Certificate,
				[]certificate.Rule{CertificateNone, certificate.CommonName, certificate.DNS, certificate.Email, certificate.URI},
				"Where a client's verified certificate names its user, who then needs no password"),
			toggle("auth.own-client-id", &c.Auth.OwnClientID,
				"Refuse clients whose identifier is not their user's name, but for those that leave it to the node: nobody takes another one's"),
			file("auth.jwt.keys-file", &c.Auth.JWT.KeysFile,
				"Public keys that tokens are signed with, PEM or a JSON Web Key Set; clients then may have such a token as their password"),
			file("auth.jwt.secret-file", &c.Auth.JWT.SecretFile, "File of a secret that tokens are signed with by HMAC, at least 32 bytes"),
			text("auth.jwt.keys-url", &c.Auth.JWT.KeysURL, "https, or http to a loopback address, without a user name", isKeysURL,
				"Where to fetch the JSON Web Key Set that tokens are signed with"),
			toggle("auth.jwt.discovery", &c.Auth.JWT.Discovery, "Ask the issuer where its keys are, as OpenID Connect Discovery says"),
			file("auth.jwt.ca-file", &c.Auth.JWT.CAFile, "PEM certificates of the authorities that keys are fetched from; without it those of the system"),
			duration("auth.jwt.refresh", &c.Auth.JWT.Refresh, time.Second, 10*time.Second, 24*time.Hour, "", "How often keys are fetched"),
			duration("auth.jwt.keep", &c.Auth.JWT.Keep, time.Second, time.Minute, 365*24*time.Hour, "",
				"For how long fetched keys are good while their server does not answer"),
			text("auth.jwt.issuer", &c.Auth.JWT.Issuer, "a name, mostly a URL", isLine, "Who has to have issued a token (iss); anybody without it"),
			list("auth.jwt.audience", &c.Auth.JWT.Audience, "names, with commas between", isLine,
				"Whom a token has to be meant for, one of them (aud); anybody without it"),
			list("auth.jwt.required-claims", &c.Auth.JWT.Required, "claims, such as scope or realm_access.roles=mqtt, with commas between", isClaim,
				"What else a token has to claim: anything by that name, or that value"),
			duration("auth.jwt.leeway", &c.Auth.JWT.Leeway, time.Second, time.Second, 10*time.Minute, "none",
				"How far the issuer's clock may be from the node's"),
			text("auth.jwt.user-claim", &c.Auth.JWT.UserClaim, "the name of a claim", func(v string) bool { return v != "" && isLine(v) },
				"Claim that is the client's user name"),
			toggle("auth.jwt.same-user", &c.Auth.JWT.SameUser, "Refuse clients whose user name in CONNECT is not the one that their token claims"),
			text("auth.jwt.rights-claim", &c.Auth.JWT.RightsClaim, "the name of a claim", isLine,
				"Claim that is a list of rules, which come before those of acl.file; without it tokens have none"),
			text("auth.jwt.groups-claim", &c.Auth.JWT.GroupsClaim, "the name of a claim", isLine,
				"Claim that is the groups that rules may speak of: a list, or a text with spaces between"),
			text("auth.webhook.url", &h.URL, "a URL, such as https://auth.example.com/mqtt", isPlain,
				"Server that is asked over HTTP who a client is").as("url"),
			toggle("auth.webhook.plain-http", &h.PlainHTTP,
				"Let that be http on another machine, so that passwords cross the network in the clear"),
			file("auth.webhook.ca-file", &h.CAFile, "PEM certificates that its own must be signed by; without it the system's"),
			file("auth.webhook.secret-file", &h.SecretFile, "File whose only line it is sent in a header, to know that a node asks"),
			text("auth.webhook.secret-header", &h.SecretHeader, "the name of an HTTP header", func(v string) bool { return webhook.CheckHeader(v) == nil },
				"Name of that header"),
			duration("auth.webhook.timeout", &h.Timeout, time.Millisecond, 10*time.Millisecond, time.Minute, "",
				"Time in which it has to answer, the wait for its turn included; then the client is not let in"),
			number("auth.webhook.concurrency", &h.Concurrency, 1, 1024, "Requests to it at one time"),
			number("auth.webhook.queue", &h.Queue, 1, 1_000_000, "Clients that wait for one of these; more are told that the server is busy"),
			duration("auth.webhook.cache", &h.Cache, time.Second, time.Second, 24*time.Hour, "it is asked each time",
				"Time for which a client that was let in is, if it shows the same again"),
			number("auth.webhook.cache-entries", &h.CacheEntries, 1, 10_000_000, "Clients of whom that is remembered"),
			file("acl.file", &c.ACL.File,
				"File of rules that say who may publish and subscribe to what; those of dunlin acl set follow; without any nobody may anything where auth is set, else everybody all"),
			list("acl.deny-filters", &c.ACL.DenyFilters, "topic filters", isFilter,
				"Filters that nobody may subscribe to"),
		),
	)
}

// isPlain holds for what a line can be; what is a good URL depends on other settings.
func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func isPathName(s string) bool { return s != "" && !strings.ContainsRune(s, 0) }

func isLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// isReference holds for a Server Reference. How clients read it is not for the standard to say.
func isReference(s string) bool { return len(s) <= 256 && isLine(s) }

func isKeysURL(s string) bool { return s == "" || isLine(s) && jwt.CheckURL(s) == nil }

func isClaim(s string) bool { return isLine(s) && jwt.CheckClaim(s) == nil }

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

// proxies are those before a listener.
func proxies(key string, p *[]netip.Prefix, listener string) Setting {
	return networks(key, p, "Networks of the proxies before "+listener+": each connection must then come from one of them and begin with a PROXY header")
}

func networks(key string, p *[]netip.Prefix, help string) Setting {
	valid := func(ns []netip.Prefix) bool {
		return !slices.ContainsFunc(ns, func(n netip.Prefix) bool { return !n.IsValid() || n != n.Masked() })
	}
	return Setting{
		Key: key, Kind: "list", Allowed: "networks such as 10.0.0.0/8 (not 10.0.0.1/8) or addresses such as 192.0.2.7, with commas between", List: true,
		Help: help,
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
				n, err := limit.ParseNetwork(e)
				if err != nil {
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

// in puts settings under a heading.
func in(group string, ss ...Setting) []Setting {
	for i := range ss {
		ss[i].Group = group
	}
	return ss
}
