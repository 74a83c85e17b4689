package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestGossipLog: a stranger's packets are told of once a minute with their number,
// a peer that does not answer not at all.
func TestGossipLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := &gossipLog{l: slog.New(slog.NewTextHandler(&out, nil))}
		for range 100 {
			fmt.Fprintln(w, "2009/11/10 23:00:00 [ERR] memberlist: Decrypt packet failed: no key from=1.2.3.4")
			fmt.Fprintln(w, "2009/11/10 23:00:00 [ERR] memberlist: Failed fallback TCP ping: timeout 1s: i/o timeout")
			time.Sleep(time.Second) // virtual
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "suppressed=0") || !strings.Contains(lines[1], "suppressed=59") {
			t.Errorf("told:\n%s", out.String())
		}
	})
}
