package chaos

import (
	"fmt"
	"time"

	"dunlin/e2e/chaos/fault"
	"dunlin/e2e/chaos/history"
)

// syncs applies s to the fsyncs of one node. A node may end itself when its disk
// hangs or fails (D2, D3), and is started again then.
func syncs(name string, hold [2]time.Duration, s fault.Sync) attack {
	return attack{name, func(r *rig) (func(), string, string) {
		_, n := r.pick(nil)
		r.spare(n)
		if s.Delay >= stallTimeout {
			r.grace = stallTimeout
		}
		n.ExpectEnd()
		stop, err := s.Attach(n.Pid())
		if err != nil {
			return func() {}, n.Name, fmt.Sprint("left out: ", err)
		}
		return func() {
			stop()
			r.revive(n)
		}, n.Name, fmt.Sprintf("%+v", s)
	}, hold}
}

// stallTimeout is disk-stall-timeout, after which a node gives up a disk that hangs
// and ends (D3). Until then its followers hear from it and stand for no election.
const stallTimeout = 10 * time.Second

// power takes the power of all nodes at once, or of one.
func power(all bool, hold [2]time.Duration) attack {
	return attack{"power", func(r *rig) (func(), string, string) {
		first, _ := r.pick(nil)
		hit := []int{first}
		if all {
			hit = r.shuffled()
		} else {
			r.spare(r.cluster.Nodes[first-1])
		}
		for _, i := range hit {
			n := r.cluster.Nodes[i-1]
			n.ExpectEnd() // its writes fail (D2)
			r.rec.Fault(history.Killing, n.Name, "")
			if err := r.disks.Cut(i - 1); err != nil {
				r.t.Errorf("chaos: %v", err)
			}
		}
		for _, i := range hit {
			n := r.cluster.Nodes[i-1]
			n.Kill()
			r.rec.Fault("power", n.Name, "")
		}
		return func() {
			for _, i := range hit {
				if err := r.disks.Restore(i - 1); err != nil {
					r.t.Fatalf("chaos: %v", err)
				}
			}
			for _, i := range hit {
				r.cluster.Nodes[i-1].Start()
			}
			r.cluster.WaitReady()
		}, "", fmt.Sprint(hit)
	}, hold}
}

// turn steps the wall clock of node 1 by hours, either way.
func turn(hold [2]time.Duration) attack {
	return attack{"clock", func(r *rig) (func(), string, string) {
		off := time.Duration(r.rnd.IntN(49)-24) * time.Hour
		if err := r.clock.Set(off); err != nil {
			r.t.Errorf("chaos: %v", err)
		}
		return func() {}, "n1", off.String()
	}, hold}
}

// Disks that nobody would want.
var (
	slowDisk   = fault.Sync{Delay: 100 * time.Millisecond}
	hungDisk   = fault.Sync{Delay: time.Minute}
	brokenDisk = fault.Sync{Error: "EIO", From: 5}
)
