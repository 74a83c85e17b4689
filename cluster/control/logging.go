package control

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// raftLogger has Raft log where the node does.
func raftLogger(to *slog.Logger) hclog.Logger {
	level := hclog.Error
	if to.Enabled(context.Background(), slog.LevelDebug) {
		level = hclog.Debug
	}
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: level, Output: io.Discard})
	l.RegisterSink(sink{to})
	return l
}

// ordinary is what Raft calls an error and says again and again while a node
// cannot be reached, of which the roster has told, or when another leads, of which
// the node tells once for all groups.
var ordinary = []string{
	"failed to appendEntries to", "failed to pipeline appendEntries", "failed to start pipeline replication to",
	"failed to heartbeat to", "failed to make requestVote RPC", "failed to send snapshot to",
	"peer has newer term, stopping replication",
}

// sink is the node's log as hclog sees it.
type sink struct{ log *slog.Logger }

// Accept implements hclog.SinkAdapter. What Raft calls an error it goes on after:
// what the node cannot go on after, the log of the groups tells (D2).
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Error && !slices.Contains(ordinary, msg) {
		to = slog.LevelWarn
	}
	s.log.Log(context.Background(), to, "raft: "+msg, args...)
}
