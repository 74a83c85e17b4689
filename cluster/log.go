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
	l       *slog.Logger
	refused func(why, from string) // is told of each stranger
	mu      struct {
		sync.Mutex
		told [len(tellingGossip)]seldom
	}
}

// tellingGossip is how those lines begin that an operator can do something about, and
// what a stranger is refused for of whom one speaks: "" if it is of none, or NotifyAlive
// has counted it.
var tellingGossip = [...]struct{ begins, stranger string }{
	{"Conflicting address", ""}, {"Decrypt packet failed", "gossip key"},
	{"failed to receive", "gossip stream"}, {"discarding", "gossip label"},
	{"Was able to connect", ""}, {"handler queue full", ""}, {"Rejected", ""}, {"ignoring alive message", ""}, {"Ignoring an alive message", ""},
}

// looked is the line about who has opened a stream and closed it again, to see whether
// the port is there.
const looked = `discarding stream with unacceptable label ""`

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
		if !bytes.HasPrefix(text, []byte(kind.begins)) {
			continue
		}
		if kind.stranger != "" && !bytes.HasPrefix(text, []byte(looked)) {
			_, from, _ := bytes.Cut(text, []byte("from="))
			w.refused(kind.stranger, string(from))
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.mu.told[i].tells(now)
	}
	return 0, false
}
