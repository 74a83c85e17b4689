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
		strangers := make(map[string]int)
		w := &gossipLog{l: slog.New(slog.NewTextHandler(&out, nil)), refused: func(why, from string) { strangers[why+" "+from]++ }}
		for range 100 {
			fmt.Fprintln(w, "2009/11/10 23:00:00 [ERR] memberlist: Decrypt packet failed: no key from=1.2.3.4")
			fmt.Fprintln(w, `2009/11/10 23:00:00 [DEBUG] memberlist: Stream connection from=1.2.3.4:5`)
			fmt.Fprintln(w, "2009/11/10 23:00:00 [ERR] memberlist: Failed fallback TCP ping: timeout 1s: i/o timeout")
			time.Sleep(time.Second) // virtual
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "suppressed=0") || !strings.Contains(lines[1], "suppressed=59") {
			t.Errorf("told:\n%s", out.String())
		}
		fmt.Fprintln(w, `2009/11/10 23:00:00 [ERR] memberlist: discarding stream with unacceptable label "": from=1.2.3.4:5`) // a look
		fmt.Fprintln(w, `2009/11/10 23:00:00 [ERR] memberlist: discarding packet with unacceptable label "": from=1.2.3.4:5`)
		if len(strangers) != 2 || strangers["gossip key 1.2.3.4"] != 100 || strangers["gossip label 1.2.3.4:5"] != 1 {
			t.Errorf("counted %v", strangers)
		}
	})
}
