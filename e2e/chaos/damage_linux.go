package chaos

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"dunlin/e2e/chaos/fault"
	"dunlin/e2e/harness"
)

// spoil damages a file of a node that was killed. A node that finds it does not
// start, or ends; it is then given an empty disk, and is a new one (D2, D5).
func spoil(d fault.Damage, hold [2]time.Duration) attack {
	return attack{d.Name, func(r *rig) (func(), string, string) {
		_, n := r.pick(nil)
		r.spare(n)
		r.kill(n)
		file, err := d.Apply(r.rnd, n.Dir)
		if err != nil {
			r.t.Errorf("chaos: %v", err)
		}
		return func() { r.reviveOrReplace(n) }, n.Name, file
	}, hold}
}

// stale gives a node that was killed the disk that it had when that happened
// last, as a machine does that is restored from a copy.
func stale(hold [2]time.Duration) attack {
	copies := make(map[string]string)
	return attack{"old copy", func(r *rig) (func(), string, string) {
		_, n := r.pick(nil)
		r.spare(n)
		r.kill(n)
		old, text := copies[n.Name], "kept a copy"
		now := r.t.TempDir()
		if err := os.CopyFS(now, files{os.DirFS(n.Dir)}); err != nil {
			r.t.Errorf("chaos: %v", err)
		}
		if old != "" {
			text = "restored"
			n.Wipe()
			if err := os.CopyFS(n.Dir, os.DirFS(old)); err != nil {
				r.t.Errorf("chaos: %v", err)
			}
			now = "" // the next is kept anew
		}
		copies[n.Name] = now
		return func() { r.reviveOrReplace(n) }, n.Name, text
	}, hold}
}

// files is a file system without what is neither file nor folder: a socket cannot
// be copied.
type files struct{ fs.FS }

func (f files) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(f.FS, name)
	return slices.DeleteFunc(all, func(e fs.DirEntry) bool { return !e.IsDir() && !e.Type().IsRegular() }), err
}

// reviveOrReplace starts a node and, if it does not stay, replaces it by one with
// an empty disk under its name.
func (r *rig) reviveOrReplace(n *harness.Node) {
	n.Start()
	n.ExpectEnd()
	if r.ends(n) {
		r.rec.Fault("empty disk", n.Name, "it found the damage")
		n.Wipe()
		n.Restart()
	}
}

// revive has a node that may be about to end by itself run and be ready.
func (r *rig) revive(n *harness.Node) {
	if r.ends(n) {
		r.rec.Fault("restart", n.Name, "it had ended")
		n.Restart()
	}
}

// ends waits until a node has ended, which it reports, or is ready.
func (r *rig) ends(n *harness.Node) bool {
	for end := time.Now().Add(patience); n.Running(); r.pause(50 * time.Millisecond) {
		switch {
		case n.Ready() == nil:
			return false
		case time.Now().After(end):
			r.t.Errorf("progress: %s neither is ready nor ends within %v", n.Name, patience)
			return false
		}
	}
	return true
}

// short lets a node have little of what its machine has.
func short(name string, hold [2]time.Duration, limit func(n *harness.Node) (release func(), err error)) attack {
	return attack{name, func(r *rig) (func(), string, string) {
		_, n := r.pick(nil)
		r.spare(n)
		n.ExpectEnd()
		release, err := limit(n)
		if err != nil {
			return func() {}, n.Name, fmt.Sprint("left out: ", err)
		}
		return func() {
			release()
			r.revive(n)
		}, n.Name, ""
	}, hold}
}

func littleCPU(n *harness.Node) (func(), error) { return fault.CPU(n.Pid(), 0.05) }

// littleMemory is a few megabytes beyond what the node has at its start.
func littleMemory(n *harness.Node) (func(), error) { return fault.Memory(n.Pid(), 64<<20) }

// noFiles leaves a node the descriptors that it has.
func noFiles(n *harness.Node) (func(), error) {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Pid()))
	if err != nil {
		return nil, err
	}
	return fault.Files(n.Pid(), uint64(len(fds)))
}
