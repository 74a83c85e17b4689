package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// gossipLog turns memberlist's lines into events. What it calls an error is
// mostly a peer that does not answer, which the members' own events tell: that is
// for debugging. What remains is about wrong settings and strangers, comes with
// every packet of theirs, and is told now and then.
type gossipLog struct {
	l  *slog.Logger
	mu struct {
		sync.Mutex
		told [len(tellingGossip)]struct {
			at   time.Time // zero: never
			more int       // of its kind since
		}
	}
}

// tellingGossip is how those lines begin that an operator can do something about.
var tellingGossip = [...]string{
	"Conflicting address", "Decrypt packet failed", "failed to receive", "discarding", "Was able to connect",
	"handler queue full", "Rejected", "ignoring alive message", "Ignoring an alive message",
}

const gossipQuiet = time.Minute // between two lines of a kind

// Write takes a line such as
//
//	2009/11/10 23:00:00 [WARN] memberlist: Refuting a suspect message
func (w *gossipLog) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	if i := bytes.IndexByte(text, '['); i >= 0 {
		_, rest, _ := bytes.Cut(text[i+1:], []byte("] "))
		text = bytes.TrimPrefix(rest, []byte("memberlist: "))
	}
	if more, tell := w.tells(text, time.Now()); tell {
		w.l.Warn("gossip", "event", string(text), "suppressed", more)
	} else {
		w.l.Log(context.Background(), slog.LevelDebug, "gossip", "event", string(text))
	}
	return len(line), nil
}

// tells says whether a line is to be told now, and how many of its kind were not.
func (w *gossipLog) tells(text []byte, now time.Time) (more int, tell bool) {
	if bytes.Contains(text, []byte(foreignText)) {
		return 0, false // Cluster.foreign tells
	}
	for i, kind := range tellingGossip {
		if !bytes.HasPrefix(text, []byte(kind)) {
			continue
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		k := &w.mu.told[i]
		if !k.at.IsZero() && now.Sub(k.at) < gossipQuiet {
			k.more++
			return 0, false
		}
		more, k.more, k.at = k.more, 0, now
		return more, true
	}
	return 0, false
}
