package chaos

import (
	"os/exec"
	"time"

	"dunlin/e2e/harness"
)

// leave empties a node with dunlin cluster remove, ends it, and has it come back
// as a new one.
func leave(hold [2]time.Duration) attack {
	return attack{"leave", func(r *rig) (func(), string, string) {
		i, n := r.pick(nil)
		r.spare(n)
		other := r.cluster.Nodes[i%len(r.cluster.Nodes)]
		out, err := exec.Command(harness.Binary(r.t), "cluster", "remove", n.Name, "--wait", "--data-dir", other.Dir).CombinedOutput()
		if err != nil {
			r.t.Errorf("chaos: remove %s: %v: %s", n.Name, err, out)
		}
		return r.anew(n), n.Name, string(out)
	}, hold}
}

// replace takes a node's disk away, and its replicas with it.
func replace(hold [2]time.Duration) attack {
	return attack{"replace", func(r *rig) (func(), string, string) {
		_, n := r.pick(nil)
		r.spare(n)
		return r.anew(n), n.Name, ""
	}, hold}
}

// anew kills a node and returns what starts it without its data. The next attack
// waits until it holds replicas of its own: with two disks gone at once more is
// lost than is promised.
func (r *rig) anew(n *harness.Node) (start func()) {
	r.kill(n)
	n.Wipe()
	return func() {
		n.Restart()
		harness.Within(r.t, patience, "each shard has three voters that run", func() error { return r.cluster.Whole(3) })
	}
}
