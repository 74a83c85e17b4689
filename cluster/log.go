package cluster

import (
	"bytes"
	"context"
	"log/slog"
)

// gossipLog turns memberlist's lines into events. What it calls an error is
// mostly a peer that does not answer, which the members' own events tell, so no
// line of it is more than a warning.
type gossipLog struct{ l *slog.Logger }

// Write takes a line such as
//
//	2009/11/10 23:00:00 [WARN] memberlist: Refuting a suspect message
func (w gossipLog) Write(line []byte) (int, error) {
	level, text := slog.LevelInfo, bytes.TrimSpace(line)
	if i := bytes.IndexByte(text, '['); i >= 0 {
		tag, rest, _ := bytes.Cut(text[i+1:], []byte("] "))
		text = bytes.TrimPrefix(rest, []byte("memberlist: "))
		switch string(tag) {
		case "DEBUG", "INFO":
			level = slog.LevelDebug
		case "ERR", "ERROR":
			level = slog.LevelWarn
		}
	}
	w.l.Log(context.Background(), level, "gossip", "event", string(text))
	return len(line), nil
}
