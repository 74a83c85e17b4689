package metrics

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is one line of the table.
type Metric struct {
	Name   string
	Type   prometheus.ValueType // Untyped: a histogram
	Labels []string
	Help   string
}

// table holds the metrics that sources report, in the order in which they are
// declared below.
var table []*Metric

func counter(name, help string, labels ...string) *Metric {
	return declare(&Metric{"dunlin_" + name, prometheus.CounterValue, labels, help})
}

func gauge(name, help string, labels ...string) *Metric {
	return declare(&Metric{"dunlin_" + name, prometheus.GaugeValue, labels, help})
}

func declare(m *Metric) *Metric {
	table = append(table, m)
	return m
}

// The node.
var (
	Build              = gauge("build_info", "Always 1; the version that runs", "version", "go_version")
	Ready              = gauge("ready", "1 if the node has joined, holds all routes and takes clients, else 0")
	Drained            = gauge("drained", "1 while the node is drained or cordoned by command, or leaves the cluster, else 0")
	Leased             = gauge("lease_held", "1 if the node holds a lease, without which it acknowledges nothing, else 0")
	Counts             = gauge("nodes_counted", "Other nodes that this one waits for before SUBACK: those whose lease may run")
	Level              = gauge("cluster_level", "The level in force: what all nodes of the cluster understand")
	InUse              = gauge("in_use_bytes", "Memory that the process has in use, without garbage, and what is taken of the file system of data-dir", "of")
	HighWater          = gauge("high_water_bytes", "How much of that is too much, so that nothing more is stored and no client let in; 0: no mark", "of")
	HighWaterCrossings = counter("high_water_crossings_total", "Times that it came to be too much", "of")
	Panics             = counter("panics_total", "Panics while serving a connection, which closed it; each is a bug")
)

// Connections.
var (
	Connections         = gauge("connections", "Client connections that are open")
	Clients             = gauge("clients", "Clients that are connected: those with a CONNACK")
	ConnectionsAccepted = counter("connections_accepted_total", "Client connections taken in")
	ConnectionsRefused  = counter("connections_refused_total", "Client connections closed at once: turned away, no descriptor, not ready")
	Limited             = counter("connections_limited_total", "Connections and CONNECTs that a limit or a ban turned away, by what", "cause")
	LimitEntries        = gauge("limit_entries", "What is remembered of addresses, users, logins that failed, and client identifiers, for limits", "of")
	LimitCrowded        = counter("limit_crowded_total", "Times that there was no room to remember one more, which then shared a limit with others")
	Pressure            = gauge("pressure", "1 while new connections are refused because the node is short of something, else 0", "of")
	SilentShed          = counter("connections_silent_shed_total", "Connections closed because more were silent than may be, those that had been for longest first")
	Banished            = counter("connections_banned_total", "Connections closed because their client was banned meanwhile")
	Opening             = gauge("connections_opening", "Connections that are not client connections yet: a TLS, WebSocket or PROXY header is to come")
	Unopened            = counter("connections_unopened_total", "Connections that ended before they were client connections")
	TLSHandshakes       = counter("tls_handshakes_total", "TLS handshakes of clients that were completed")
	TLSResumed          = counter("tls_handshakes_resumed_total", "Of these, those that resumed an earlier one")
	TLSFailed           = counter("tls_handshakes_failed_total", "TLS handshakes of clients that failed, by reason", "reason")
	TLSUnderWay         = gauge("tls_handshakes", "TLS handshakes under way, and waiting for room to begin", "state")
	TLSExpiry           = gauge("tls_certificate_expiry_seconds", "Time until the first of the certificates that clients are shown expires; infinite without TLS")
	CRLExpiry           = gauge("tls_crl_expiry_seconds", "Time until the first of the lists of revoked certificates is out of date; infinite without lists")
	CertificatesRevoked = counter("certificates_revoked_total", "Connections closed because the client's certificate was revoked while it was connected")
	WebSocketsRefused   = counter("websockets_refused_total", "Requests at a WebSocket listener that did not become one, by reason", "reason")
	WebSocketViolations = counter("websocket_violations_total", "WebSockets closed because of a frame that must not be, such as text")
	ProxiedRefused      = counter("proxied_refused_total", "Connections at a listener behind proxies that were closed for want of a good PROXY header, by reason", "reason")
	AcceptErrors        = counter("accept_errors_total", "Errors of accept")
	ConnectsRefused     = counter("connects_refused_total", "CONNECT packets answered with a refusal")
	ConnectsDenied      = counter("connects_denied_total", "Of these, those of clients that could not prove who they are")
	ConnectsReferred    = counter("connects_referred_total", "Of those refused, those that were told to use another server because the node is drained or cordoned")
	SentAway            = counter("clients_sent_away_total", "Clients disconnected to use another server, by a drain or to spread connections evenly")
	Passwords           = counter("passwords_total", "Passwords of clients that were checked by hashing, in the process for it or by the node itself, known from before, or refused as too many waited", "by")
	Tokens              = counter("tokens_total", "Tokens of clients, by what became of them", "outcome")
	TokenKeysFetches    = counter("token_key_fetches_total", "Times that the keys of tokens were fetched, or could not be", "outcome")
	TokenKeysAge        = gauge("token_keys_age_seconds", "Time since the keys of tokens were fetched last; 0 if they never were")
	Expelled            = counter("connections_expelled_total", "Connections closed because their user was removed, or has another password")
	Lapsed              = counter("lapsed_total", "Connections closed because what had let them in, such as a token, was over")
	Webhooks            = counter("webhook_clients_total", "Clients of whom the webhook was to say who they are, by outcome; failed: it gave no answer that counts", "outcome")
	AuthExchanges       = gauge("auth_exchanges", "Authentications by AUTH that are under way")
	Reauthentications   = counter("reauthentications_total", "Clients that were connected and authenticated anew, by outcome; refused ones are disconnected", "outcome")
	IdleTimeouts        = counter("idle_timeouts_total", "Connections closed for silence: no CONNECT in time, or one and a half keep-alives")
	SlowConsumers       = counter("slow_consumers_total", "Connections closed because the client did not take what was sent")
	Crowded             = counter("crowded_out_total", "Connections closed because all together held more than limits.buffer-memory, and they most")
	BufferedBytes       = gauge("buffered_bytes", "Bytes held for clients: of sockets, what is not sent or not a whole packet; of queues, what waits in those that end with their connection", "of")
	ProtocolErrors      = counter("protocol_errors_total", "Connections closed for a malformed packet or a breach of the protocol")
	UnknownOutcomes     = counter("unknown_outcomes_total", "Connections closed because nobody knows what became of something they asked for")
	Fenced              = counter("fenced_total", "Connections closed because a write to their session found it owned by another")
	Takeovers           = counter("takeovers_total", "Connections closed because their client identifier connected anew")
	ReceivedBytes       = counter("received_bytes_total", "Bytes read from clients")
	SentBytes           = counter("sent_bytes_total", "Bytes written to clients")
)

// Who asks for what, and may not.
var (
	AuditLines = counter("audit_lines_total", "Lines of the audit log: written, left out as too many of their kind came, dropped as too many waited, or failed to be written", "outcome")
)

// Packets and messages.
var (
	PacketsReceived    = counter("packets_received_total", "Packets from clients", "type")
	MessagesReceived   = counter("messages_received_total", "PUBLISH packets from clients", "qos")
	MessagesSent       = counter("messages_sent_total", "PUBLISH packets to clients, resends included", "qos")
	PublishesDenied    = counter("publishes_denied_total", "PUBLISH packets that access control refused")
	SubscriptionDenied = counter("subscriptions_denied_total", "Filters in SUBSCRIBE that access control or a limit refused")
	TrafficLimited     = counter("traffic_limited_total", "Times that a limit held back a client that is connected, or refused it something, by limit", "limit")
	DeliveriesQueued   = counter("deliveries_queued_total", "Messages that had to wait for a client's window or socket")
	DeliveriesDropped  = counter("deliveries_dropped_total", "Messages not delivered to a subscriber, by reason", "reason")
)

// Routing.
var (
	Subscriptions    = gauge("subscriptions", "Subscriptions of clients that are connected to this node")
	Routes           = gauge("routes", "Entries of the route table: exact, wildcard, share group, and those of peers", "of")
	RetainedSent     = counter("retained_sent_total", "Retained messages sent to new subscriptions")
	Unrouted         = counter("unrouted_total", "Publishes that no subscriber anywhere wanted")
	PendingPublishes = gauge("pending_publishes", "Publishes of QoS 1 and 2 that wait for their acknowledgement")
	WithheldAnswers  = gauge("withheld_answers", "Connections and subscriptions whose acknowledgements wait for this node's lease")
	WillsUnderWay    = gauge("wills_under_way", "Wills that this node publishes and does not know to be everywhere yet")
	WillsDeferred    = counter("wills_deferred_total", "Times that the wills of a shard waited, since too many were under way here")
	PublisherStalls  = counter("publisher_stalls_total", "Times that a publisher was not read from because what it filled was full")
)

// The cluster.
var (
	Nodes             = gauge("nodes", "Members of the cluster as this node sees them", "state")
	ForwardedMessages = counter("forwarded_messages_total", "Messages sent to other nodes")
	ForwardDropped    = counter("forward_dropped_total", "QoS 0 messages for other nodes dropped because the stream was down or behind")
	SharedHandedOn    = counter("shared_handed_on_total", "Messages of share groups given to another member because the first departed")
	SharedDropped     = counter("shared_dropped_total", "Messages of share groups for which no member was left")
	SharedEnded       = counter("shared_ended_total", "QoS 2 messages of share groups sent and not acknowledged when the member's session ended")
	LentBytes         = gauge("lent_bytes", "Bytes of share group messages kept until members on other nodes acknowledge them")
)

// Event loops.
var (
	LoopTurns   = counter("loop_turns_total", "Turns of the event loops")
	LoopReads   = counter("loop_reads_total", "Reads from connections")
	LoopFlushes = counter("loop_flushes_total", "Writes to connections; messages per write tell how well output is gathered")
	LoopMail    = counter("loop_mail_total", "Values handed from one event loop or goroutine to another loop")
)

// Table is everything that a node exports, in the order of the documentation:
// what sources report, then what components count for themselves.
func Table() []Metric {
	ms := make([]Metric, 0, len(table)+len(components))
	for _, m := range table {
		ms = append(ms, *m)
	}
	return append(ms, components...)
}

// Markdown is the table as docs/metrics.md shows it.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\n" +
		"What `/metrics` exports beside the usual `go_` and `process_` metrics. Names are in base units\n" +
		"(seconds, bytes); no label holds a client identifier, a user or a topic. `make gen` writes this\n" +
		"page from the tables in `node/metrics`.\n\n" +
		"| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range Table() {
		kind := map[prometheus.ValueType]string{
			prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge", prometheus.UntypedValue: "histogram",
		}[m.Type]
		labels := "-"
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, kind, labels, m.Help)
	}
	return b.String()
}
