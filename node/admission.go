package node

import (
	"log/slog"
	"math"
	"time"

	"dunlin/node/config"
	"dunlin/node/limit"
	"dunlin/node/listen"
	"dunlin/node/metrics"
)

// gate asks a Door for the event loops.
type gate struct{ door *limit.Door }

func (g gate) Arrive(info *listen.Info) bool {
	why, in := g.door.Arrive(info.Listener, info.Remote.Addr())
	info.Note = uint8(why)
	return in
}

func (g gate) Depart(info *listen.Info) {
	g.door.Depart(info.Listener, info.Remote.Addr(), limit.Refusal(info.Note))
}

// newDoorman makes the Door of a node.
func newDoorman(cfg config.Config, p *limit.Pressure, clock func() time.Duration, log *slog.Logger) *limit.Door {
	a := cfg.Limits.Admission
	bounds := map[string]int{"mqtt": a.Listeners.MQTT, "mqtts": a.Listeners.MQTTS, "ws": a.Listeners.WS, "wss": a.Listeners.WSS}
	o := limit.Options{
		MaxConnections:        maxConnections(cfg.Limits.MaxConnections, openFiles()),
		Listeners:             make(map[string]limit.Listener),
		ConnectionsPerAddress: a.ConnectionsPerAddress, ConnectionsPerUser: a.ConnectionsPerUser,
		ConnectRate: a.ConnectRate, ConnectRatePerAddress: a.ConnectRatePerAddress, ConnectRatePerUser: a.ConnectRatePerUser,
		ConnectBurst: a.ConnectBurst,
		FailedLogins: a.FailedLogins, FailedLoginsPerAddress: a.FailedLoginsPerAddress, MaxBackOff: a.MaxLoginBackOff,
		Flapping: a.Flapping, FlappingWindow: a.FlappingWindow, FlappingBan: a.FlappingBan,
		Trusted: a.TrustedAddresses, Pressure: p, Clock: clock, Log: log,
	}
	for _, l := range cfg.Listeners() {
		o.Listeners[l.Name] = limit.Listener{MaxConnections: bounds[l.Name], Dear: l.TLS}
	}
	return limit.NewDoor(o)
}

// ownFiles is what a node needs of its descriptors for itself: its log, its snapshots, its
// peers, its administrators, and clients that are being told that there is no room. Were
// clients to take them all, it could not keep its promises to those who are there (case 56).
const ownFiles = 320

// maxConnections is the bound on connections where descriptors are the other one; 0 of
// either: none.
func maxConnections(configured int, files uint64) int {
	if files == 0 {
		return configured
	}
	room := int(min(files-min(ownFiles, files/2), math.MaxInt32))
	if configured == 0 {
		return room
	}
	return min(configured, room)
}

func (n *Node) observeAdmission(emit metrics.Emit) {
	s := n.doorman.Stats()
	for why := limit.Admitted + 1; int(why) < limit.Refusals; why++ {
		emit(metrics.Limited, float64(s.Refused[why]), why.String())
	}
	emit(metrics.LimitEntries, float64(s.Remembered.Addresses), "addresses")
	emit(metrics.LimitEntries, float64(s.Remembered.Users), "users")
	emit(metrics.LimitEntries, float64(s.Remembered.Logins), "logins")
	emit(metrics.LimitEntries, float64(s.Remembered.Clients), "clients")
	emit(metrics.LimitCrowded, float64(s.Crowded))
	for c := range limit.Cause(limit.Causes) {
		short := 0.0
		if n.pressure.Of(c) != limit.None {
			short = 1
		}
		emit(metrics.Pressure, short, c.String())
	}
}
