package node

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestOversee: an event is one line, in whatever number of shards and steps it
// comes about; an election that takes its time is none.
func TestOversee(t *testing.T) {
	var out bytes.Buffer
	o := &overseer{lost: map[string]time.Duration{}, log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))}
	now := time.Duration(0)
	look := func(d time.Duration, v shardView) {
		for end := now + d; now < end; {
			now += overseeEvery
			o.look(now, v)
		}
	}
	orphaned := func(groups ...string) map[string]bool {
		m := map[string]bool{}
		for _, g := range groups {
			m[g] = true
		}
		return m
	}
	look(time.Second, shardView{replicas: 16, behind: 16, orphaned: orphaned("0", "1")})
	look(500*time.Millisecond, shardView{replicas: 16, behind: 2, leads: 3})
	look(time.Minute, shardView{replicas: 16, leads: 5})
	look(2*time.Second, shardView{replicas: 16, leads: 5, orphaned: orphaned("7", "2", "10")})
	look(time.Minute, shardView{replicas: 16, leads: 7})
	look(3*time.Second, shardView{replicas: 16, leads: 7, orphaned: orphaned("7", "2", "10", "meta")})
	look(3*time.Second, shardView{replicas: 16, leads: 7, orphaned: orphaned("7")})
	look(time.Minute, shardView{replicas: 16, leads: 7})
	want := `
level=INFO msg="the replicas here have caught up" replicas=16 after=1.75s
level=INFO msg="leadership of shards moved" leads=5 before=0 replicas=16
level=INFO msg="leadership of shards moved" leads=7 before=5 replicas=16
level=WARN msg="shards have no leader: what concerns them waits" shards=4 of=16 which="meta 2 7 10" for=2.25s
level=INFO msg="all shards have a leader again" after=6s
`
	if got := out.String(); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("told:\n%s", got)
	}
}
