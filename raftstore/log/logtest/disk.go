package logtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"dunlin/raftstore/log"
)

// Op is an operation on a disk, as a hook sees it.
type Op uint8

// The operations. What changes a directory is two of them: SyncDir makes the
// change durable.
const (
	OpOpen Op = iota
	OpRead
	OpWrite
	OpSync
	OpRename
	OpRemove
	OpList
	OpSyncDir
)

func (o Op) String() string {
	return [...]string{"open", "read", "write", "sync", "rename", "remove", "list", "syncdir"}[o]
}

// ErrCrashed is what every operation returns after the disk was told to crash.
var ErrCrashed = errors.New("the machine is off")

// sector is what a disk writes whole or not at all.
const sector = 512

// Disk is a directory that a log can live in. Files are seen at once by who
// reads them, and survive what the process does; what was not synced survives
// PowerLoss in part, sector by sector, by chance.
type Disk struct {
	hook func(op Op, name string) error

	mu      sync.Mutex
	files   map[string]*inode // as the process sees them
	stable  map[string]*inode // as they are on stable storage
	changes []change          // of the directory, since it was synced
	crashed bool
}

var _ log.FS = (*Disk)(nil)

// inode is a file's content.
type inode struct {
	data    []byte // as the process sees it
	stable  []byte // as it is on stable storage
	unsaved []write
}

type write struct {
	offset int64
	data   []byte
}

// change is a rename, or a removal if to is empty.
type change struct{ from, to string }

// NewDisk is an empty disk. Its hook, which may be nil, is called before each
// operation; its error is the operation's. A write that fails has written half;
// a sync that fails has forgotten what was to be synced, as Linux does: it can
// still be read, and no later sync stores it. The hook may block, and is called
// from several goroutines.
func NewDisk(hook func(op Op, name string) error) *Disk {
	return &Disk{hook: hook, files: make(map[string]*inode), stable: make(map[string]*inode)}
}

// before runs the hook.
func (d *Disk) before(op Op, name string) error {
	if d.hook != nil {
		if err := d.hook(op, name); err != nil {
			return fmt.Errorf("%v %s: %w", op, name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return ErrCrashed
	}
	return nil
}

// Crash makes every operation fail from now on, without effect.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
}

// Kill is the disk as the next process finds it after this one was killed:
// everything can be read, nothing was synced by it.
func (d *Disk) Kill(hook func(op Op, name string) error) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	next := NewDisk(hook)
	clones := make(map[*inode]*inode)
	clone := func(n *inode) *inode {
		if clones[n] == nil {
			clones[n] = &inode{data: slices.Clone(n.data), stable: slices.Clone(n.stable), unsaved: slices.Clone(n.unsaved)}
		}
		return clones[n]
	}
	for name, n := range d.files {
		next.files[name] = clone(n)
	}
	for name, n := range d.stable {
		next.stable[name] = clone(n)
	}
	next.changes = slices.Clone(d.changes)
	return next
}

// PowerLoss is the disk as it is found after the power failed now: what was
// synced, of other writes any of their sectors, and of changes to the directory
// the first few.
func (d *Disk) PowerLoss(rng *rand.Rand, hook func(op Op, name string) error) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	names := maps.Clone(d.stable)
	for _, c := range d.changes[:rng.IntN(len(d.changes)+1)] {
		apply(names, d.files, c)
	}
	next := NewDisk(hook)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		data := slices.Clone(n.stable)
		keep := rng.Float64()
		for _, w := range n.unsaved {
			data = tear(data, w, rng, keep)
		}
		next.files[name] = &inode{data: data, stable: slices.Clone(data)}
	}
	next.stable = maps.Clone(next.files)
	return next
}

// tear writes each sector of w with probability keep.
func tear(data []byte, w write, rng *rand.Rand, keep float64) []byte {
	for at := int64(0); at < int64(len(w.data)); {
		// Sectors are aligned in the file, not in the write.
		end := min(int64(len(w.data)), (w.offset+at)/sector*sector+sector-w.offset)
		if rng.Float64() < keep {
			data = put(data, w.data[at:end], w.offset+at)
		}
		at = end
	}
	return data
}

// put writes b into data at offset, which grows as needed.
func put(data, b []byte, offset int64) []byte {
	if end := offset + int64(len(b)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[offset:], b)
	return data
}

// apply makes a change to a directory; a name that is new in it comes from made.
func apply(names, made map[string]*inode, c change) {
	n := names[c.from]
	delete(names, c.from)
	if c.to == "" {
		return
	}
	if n == nil {
		n = made[c.to]
	}
	if n != nil {
		names[c.to] = n
	}
}

// Names are the files, in order.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.files))
}

// Read is a copy of a file's content, nil if there is none.
func (d *Disk) Read(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.files[name]; n != nil {
		return slices.Clone(n.data)
	}
	return nil
}

// Put replaces a file, durably: to damage it, or to start from a given one.
func (d *Disk) Put(name string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &inode{data: slices.Clone(content), stable: slices.Clone(content)}
	d.files[name], d.stable[name] = n, n
}

// Damage flips a bit of a file that may be open.
func (d *Disk) Damage(name string, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.files[name]
	n.data[offset] ^= 1
	if offset < int64(len(n.stable)) {
		n.stable[offset] ^= 1
	}
}

// Delete removes a file, durably.
func (d *Disk) Delete(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	delete(d.stable, name)
}

// Open implements log.FS.
func (d *Disk) Open(name string, create bool) (log.File, error) {
	if err := d.before(OpOpen, name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.files[name]
	if n == nil {
		if !create {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		n = &inode{}
		d.files[name] = n
		d.changes = append(d.changes, change{from: "", to: name})
	}
	return &file{disk: d, name: name, inode: n}, nil
}

// List implements log.FS.
func (d *Disk) List() (map[string]int64, error) {
	if err := d.syncDir(); err != nil {
		return nil, err
	}
	if err := d.before(OpList, ""); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sizes := make(map[string]int64)
	for name, n := range d.files {
		sizes[name] = int64(len(n.data))
	}
	return sizes, nil
}

// Rename implements log.FS.
func (d *Disk) Rename(from, to string) error { return d.change(OpRename, change{from, to}) }

// Remove implements log.FS.
func (d *Disk) Remove(name string) error { return d.change(OpRemove, change{from: name}) }

func (d *Disk) change(op Op, c change) error {
	if err := d.before(op, c.from); err != nil {
		return err
	}
	d.mu.Lock()
	if d.files[c.from] == nil {
		d.mu.Unlock()
		return &fs.PathError{Op: op.String(), Path: c.from, Err: fs.ErrNotExist}
	}
	apply(d.files, nil, c)
	d.changes = append(d.changes, c)
	d.mu.Unlock()
	return d.syncDir()
}

func (d *Disk) syncDir() error {
	if err := d.before(OpSyncDir, ""); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stable, d.changes = maps.Clone(d.files), nil
	return nil
}

// file is an open file.
type file struct {
	disk  *Disk
	name  string
	inode *inode
}

func (f *file) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.disk.before(OpRead, f.name); err != nil {
		return 0, err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if offset > int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.inode.data[offset:])
	if n < len(b) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	err := f.disk.before(OpWrite, f.name)
	if errors.Is(err, ErrCrashed) {
		return 0, err
	}
	if err != nil {
		b = b[:len(b)/2]
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.inode.data = put(f.inode.data, b, offset)
	f.inode.unsaved = append(f.inode.unsaved, write{offset, slices.Clone(b)})
	return len(b), err
}

func (f *file) Sync() error {
	err := f.disk.before(OpSync, f.name)
	if errors.Is(err, ErrCrashed) {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err == nil {
		for _, w := range f.inode.unsaved {
			f.inode.stable = put(f.inode.stable, w.data, w.offset)
		}
	}
	f.inode.unsaved = nil
	return err
}

func (f *file) Close() error { return nil }
