package node

import (
	"runtime"
	"strconv"
	"strings"

	"dunlin/node/broker"
	"dunlin/node/metrics"
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// observe reports what the node's parts know to a scrape.
func (n *Node) observe(emit metrics.Emit) {
	emit(metrics.Build, 1, Version(), runtime.Version())
	ready := 0.0
	if (members{n}).Ready() == nil {
		ready = 1
	}
	emit(metrics.Ready, ready)
	drained := 0.0
	if n.draining.inForce() {
		drained = 1
	}
	emit(metrics.Drained, drained)
	leased := 0.0
	if n.lease.Held() {
		leased = 1
	}
	emit(metrics.Leased, leased)
	emit(metrics.Counts, float64(len(n.lease.Counted())))
	emit(metrics.Level, float64(n.control.Level()))
	n.observeLoops(emit)
	n.front.observe(emit)
	n.access.observe(emit)
	n.observeAdmission(emit)
	n.observeAudit(emit)
	n.marks.observe(emit)
	n.observeBroker(emit)
	n.observeRoutes(emit)
}

func (n *Node) observeLoops(emit metrics.Emit) {
	s := n.loops.Stats()
	for _, x := range []struct {
		m *metrics.Metric
		v uint64
	}{
		{metrics.Panics, s.Panics}, {metrics.Connections, s.Open},
		{metrics.ConnectionsAccepted, s.Accepted}, {metrics.ConnectionsRefused, s.Refused},
		{metrics.AcceptErrors, s.AcceptErrors}, {metrics.SlowConsumers, s.Slow}, {metrics.Crowded, s.Crowded},
		{metrics.ReceivedBytes, s.BytesIn}, {metrics.SentBytes, s.BytesOut},
		{metrics.Opening, s.Opening}, {metrics.Unopened, s.Unopened},
		{metrics.LoopTurns, s.Turns}, {metrics.LoopReads, s.Reads},
		{metrics.LoopFlushes, s.Flushes}, {metrics.LoopMail, s.Mail},
	} {
		emit(x.m, float64(x.v))
	}
	emit(metrics.BufferedBytes, float64(s.Held), "sockets")
}

func (n *Node) observeBroker(emit metrics.Emit) {
	s := n.broker.Stats()
	for _, x := range []struct {
		m *metrics.Metric
		v uint64
	}{
		{metrics.ConnectsRefused, s.ConnectRefused}, {metrics.ConnectsReferred, s.Referred}, {metrics.SentAway, s.SentAway}, {metrics.ConnectsDenied, s.AuthDenied}, {metrics.CertificatesRevoked, s.Revoked}, {metrics.SilentShed, s.Shed}, {metrics.Banished, s.Banished}, {metrics.IdleTimeouts, s.Idle}, {metrics.Lapsed, s.Lapsed}, {metrics.Expelled, s.Expelled},
		{metrics.ProtocolErrors, s.ProtocolErrors}, {metrics.Takeovers, s.Takeovers},
		{metrics.UnknownOutcomes, s.Unknown}, {metrics.Fenced, s.Fenced},
		{metrics.PublishesDenied, s.PublishDenied}, {metrics.SubscriptionDenied, s.SubscribeRefused},
		{metrics.DeliveriesQueued, s.Queued},
		{metrics.ForwardedMessages, s.Forwarded}, {metrics.ForwardDropped, s.ForwardDropped},
		{metrics.SharedHandedOn, s.SharedHandedOn}, {metrics.SharedDropped, s.SharedDropped},
		{metrics.SharedEnded, s.SharedEnded}, {metrics.Unrouted, s.Unrouted},
		{metrics.WillsDeferred, s.WillsDeferred},
		{metrics.RetainedSent, s.Replayed}, {metrics.PublisherStalls, s.Stalls},
	} {
		emit(x.m, float64(x.v))
	}
	emit(metrics.Clients, float64(n.broker.Connected()))
	emit(metrics.PendingPublishes, float64(s.Pending))
	emit(metrics.WithheldAnswers, float64(s.Withheld))
	emit(metrics.WillsUnderWay, float64(s.Wills))
	emit(metrics.LentBytes, float64(s.LentBytes))
	emit(metrics.Subscriptions, float64(s.Subscriptions))
	emit(metrics.AuthExchanges, float64(s.Exchanges))
	emit(metrics.Reauthentications, float64(s.Reauthenticated), "ok")
	emit(metrics.Reauthentications, float64(s.ReauthDenied), "refused")
	for qos := range 3 {
		emit(metrics.MessagesReceived, float64(s.Received[qos]), strconv.Itoa(qos))
		emit(metrics.MessagesSent, float64(s.Sent[qos]), strconv.Itoa(qos))
	}
	for kind := mqtt.CONNECT; kind <= mqtt.AUTH; kind++ {
		emit(metrics.PacketsReceived, float64(s.Packets[kind]), strings.ToLower(kind.String()))
	}
	for l := range broker.Limit(broker.Limits) {
		emit(metrics.TrafficLimited, float64(s.Limited[l]), l.String())
	}
	emit(metrics.BufferedBytes, float64(s.Waiting), "queues")
	for outcome, reason := range map[session.Outcome]string{
		session.QueueFull: "queue_full", session.Expired: "expired",
		session.TooLarge: "too_large", session.Evicted: "evicted",
	} {
		emit(metrics.DeliveriesDropped, float64(s.Dropped[outcome]), reason)
	}
	emit(metrics.DeliveriesDropped, float64(s.DeliveryDenied), "denied")
}

func (n *Node) observeRoutes(emit metrics.Emit) {
	s := n.table.Stats()
	emit(metrics.Routes, float64(s.Exact), "exact")
	emit(metrics.Routes, float64(s.Wildcards), "wildcard")
	emit(metrics.Routes, float64(s.Groups), "group")
	emit(metrics.Routes, float64(s.Remote), "remote")
	states := map[string]int{}
	for _, x := range n.cluster.Nodes() {
		states[x.State]++
	}
	for state, count := range states {
		emit(metrics.Nodes, float64(count), state)
	}
}
