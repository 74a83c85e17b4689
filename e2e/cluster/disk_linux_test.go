package cluster

import (
	"strings"
	"testing"
	"time"

	"dunlin/e2e/chaos/fault"
	"dunlin/e2e/harness"
)

// TestBadDisk: the leader of a session's shard whose disk hangs (D3) or fails (D2)
// ends, says why in one line, and lets go of its clients and peers, so that another
// leads; what was acknowledged is there (P1). strace keeps a thread of the process
// where the disk would: the others see the end of its connections and not its own.
func TestBadDisk(t *testing.T) {
	for _, bad := range []struct {
		name string
		disk fault.Sync
		says string
	}{
		{"hangs", fault.Sync{Delay: time.Minute}, "the disk hangs"},
		{"fails", fault.Sync{Error: "EIO"}, "the disk failed"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			c := start(t, harness.Options{Nodes: 3, Args: []string{"--disk-stall-timeout", "1s"}})
			const id = "reader"
			sub := harness.Connect(t, c.Nodes[0].MQTT, keeping(id))
			sub.Subscribe("t", 1)
			sub.Disconnect()
			sick := c.Leader(c.Home(id))
			var well []*harness.Node
			for _, n := range c.Nodes {
				if n != sick {
					well = append(well, n)
				}
			}
			guest := client(t, sick, "guest")
			pub := newPublisher(t, "pub", well...)
			pub.publish("t", "before", 1, nil)

			sick.ExpectEnd()
			stop, err := bad.disk.Attach(sick.Pid())
			if err != nil {
				t.Skip(err)
			}
			defer stop()
			pub.publish("t", "after", 1, nil)
			for p, err := guest.Next(); err == nil; p, err = guest.Next() {
				t.Logf("the guest hears %s", harness.Describe(p))
			}

			r := &reader{t: t, conn: resume(t, well, keeping(id)), open: map[uint16]bool{}}
			r.until(2)
			for _, f := range checkOnce([]string{"before", "after"}, r.got, func(string) bool { return true }) {
				t.Error(f)
			}

			stop()
			if code := sick.WaitEnded(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if log := sick.Log(); !strings.Contains(log, bad.says) {
				t.Errorf("it does not say %q", bad.says)
			}
		})
	}
}
