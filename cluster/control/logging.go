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

// unreachable is what Raft says again and again of a node that cannot be reached,
// which the roster has told already.
var unreachable = []string{
	"failed to appendEntries to", "failed to pipeline appendEntries to", "failed to heartbeat to",
	"failed to make requestVote RPC", "failed to make requestPreVote RPC", "failed to contact",
}

// sink is the node's log as hclog sees it.
type sink struct{ log *slog.Logger }

// Accept implements hclog.SinkAdapter. What Raft calls an error it goes on after:
// what the node cannot go on after, the log of the groups tells (D2).
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Error && !slices.Contains(unreachable, msg) {
		to = slog.LevelWarn
	}
	s.log.Log(context.Background(), to, "raft: "+msg, args...)
}
