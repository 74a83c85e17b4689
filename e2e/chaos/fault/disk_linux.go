package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Disks are file systems of their own for data directories, on loop mounts, that
// can lose their power.
//
// The processes that use them see mounts and unmounts also in mount namespaces
// of their own (ip netns exec makes one), for the folder that has them is a
// shared mount.
type Disks struct {
	dir   string
	disks []string // mount points
}

// parent is where disks are mounted; a crashed run's leftovers are found there.
const parent = "dunlin-chaos-disks"

// Mount makes n disks of so many bytes. At most one Disks can be open on a
// machine.
func Mount(n int, bytes int64) (d *Disks, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("fault: %w: mounting needs root", ErrUnavailable)
	}
	d = &Disks{dir: filepath.Join(os.TempDir(), parent)}
	sweep(d.dir)
	defer func() {
		if err != nil {
			d.Close()
			d, err = nil, fmt.Errorf("fault: %w: %w", ErrUnavailable, err)
		}
	}()
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return d, err
	}
	if err := errors.Join(run("mount", "--bind", d.dir, d.dir), run("mount", "--make-shared", d.dir)); err != nil {
		return d, err
	}
	for i := range n {
		point := filepath.Join(d.dir, fmt.Sprint("disk", i+1))
		if err := makeDisk(point, bytes); err != nil {
			return d, err
		}
		d.disks = append(d.disks, point)
		if err := mount(point); err != nil {
			return d, err
		}
	}
	return d, nil
}

func makeDisk(point string, bytes int64) error {
	if err := os.MkdirAll(point, 0o755); err != nil {
		return err
	}
	f, err := os.Create(image(point))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(bytes); err != nil {
		return err
	}
	return run("mkfs.ext4", "-q", "-F", image(point))
}

func image(point string) string { return point + ".img" }

func mount(point string) error { return run("mount", "-o", "loop", image(point), point) }

// sweep unmounts and removes what a crashed run has left.
func sweep(dir string) {
	points, _ := filepath.Glob(filepath.Join(dir, "disk*"))
	for _, p := range points {
		if !strings.HasSuffix(p, ".img") {
			unix.Unmount(p, unix.MNT_DETACH)
		}
	}
	unix.Unmount(dir, unix.MNT_DETACH)
	os.RemoveAll(dir)
}

// Dir is a folder on disk i, counted from 0.
func (d *Disks) Dir(i int) string { return filepath.Join(d.disks[i], "data") }

// shutdown is EXT4_IOC_SHUTDOWN, which xfs knows too, and its way of not
// flushing the log.
const (
	shutdown   = 0x8004587d
	noLogFlush = 2
)

// Cut takes the power of disk i: whatever was not synced is gone, and everything
// after this fails. The process that uses it is to be killed then, before
// Restore.
func (d *Disks) Cut(i int) error {
	f, err := os.Open(d.disks[i])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush); err != nil {
		return fmt.Errorf("fault: %w: shutdown of a file system: %w", ErrUnavailable, err)
	}
	return nil
}

// Restore mounts disk i again, as after a start of the machine.
func (d *Disks) Restore(i int) error {
	if err := run("umount", d.disks[i]); err != nil {
		return err
	}
	return mount(d.disks[i])
}

// Close unmounts and removes all.
func (d *Disks) Close() error {
	var errs []error
	for _, p := range d.disks {
		errs = append(errs, run("umount", p))
	}
	errs = append(errs, run("umount", d.dir), os.RemoveAll(d.dir))
	return errors.Join(errs...)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
