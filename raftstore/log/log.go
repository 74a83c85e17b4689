package log

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"dunlin/raftstore/diskwatch"
)

// Log is the log of all Raft groups of a node.
type Log struct {
	options Options
	fs      FS
	unlock  io.Closer // nil if the FS is the caller's
	metrics *metrics

	queue    queue
	requests sync.Pool // of *request; the log's own, as tests run logs in bubbles of time
	segments segments
	spares   spares
	syncer   syncer
	closing  chan struct{} // closed by Close
	running  sync.WaitGroup
	ended    atomic.Pointer[error] // what every call returns from now on
	failing  sync.Once             // Failed is called

	// mu is taken before Group.mu.
	mu struct {
		sync.RWMutex
		groups map[uint16]*Group
	}
}

// Open reads the log in directory dir, which is made if there is none, and
// starts its goroutines. A write that a crash cut short, which no call ever
// answered for, is cut off; anything else that cannot be read is a DamageError,
// and the directory is left as it was.
func Open(dir string, o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	l := &Log{options: o, fs: o.FS, closing: make(chan struct{})}
	if l.fs == nil {
		d, err := openDirectory(dir)
		if err != nil {
			return nil, fmt.Errorf("open log in %s: %w", dir, err)
		}
		l.fs, l.unlock = d, d
	}
	l.metrics = newMetrics()
	l.mu.groups = make(map[uint16]*Group)
	l.queue.wake = make(chan struct{}, 1)
	l.spares.want = make(chan struct{}, 1)
	l.syncer.watch = diskwatch.New(o.StallTimeout, o.Stalled)
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, errors.Join(err, l.closeFiles()))
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(l); err != nil {
			return nil, fmt.Errorf("open log in %s: %w", dir, errors.Join(err, l.closeFiles()))
		}
	}
	l.running.Add(2)
	go l.sync()
	go l.prepare()
	return l, nil
}

// Group is the view of one Raft group, always the same for an id. A group that
// never stored anything leaves no trace.
func (l *Log) Group(id uint16) *Group {
	l.mu.RLock()
	g := l.mu.groups[id]
	l.mu.RUnlock()
	if g != nil {
		return g
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.mu.groups[id]; g != nil {
		return g
	}
	g = &Group{log: l, id: id}
	g.mu.recent.limit = l.options.CacheBytes
	l.mu.groups[id] = g
	return g
}

// Groups are the ids of those that hold entries or stable values, in order.
func (l *Log) Groups() []uint16 {
	var ids []uint16
	for _, g := range l.all() {
		g.mu.RLock()
		if !g.mu.index.empty() || len(g.mu.stable) > 0 {
			ids = append(ids, g.id)
		}
		g.mu.RUnlock()
	}
	return ids
}

// all are the groups known, in the order of their ids.
func (l *Log) all() []*Group {
	l.mu.RLock()
	defer l.mu.RUnlock()
	groups := slices.Collect(maps.Values(l.mu.groups))
	slices.SortFunc(groups, func(a, b *Group) int { return int(a.id) - int(b.id) })
	return groups
}

// Err is nil while the log works; then ErrFailed with its cause, or ErrClosed.
func (l *Log) Err() error {
	if err := l.ended.Load(); err != nil {
		return *err
	}
	return nil
}

// fail poisons the log, unless it has ended, and returns why it has. Nobody hears
// of it before Failed has returned: Raft panics when its term cannot be stored.
func (l *Log) fail(cause error) error {
	l.failing.Do(func() {
		if l.Err() != nil {
			return
		}
		err := fmt.Errorf("%w: %w", ErrFailed, cause)
		if l.options.Failed != nil {
			l.options.Failed(err)
		}
		l.ended.CompareAndSwap(nil, &err)
	})
	return l.Err()
}

// do hands a request to the syncer and waits for its result.
func (l *Log) do(r *request) error {
	defer r.free()
	if err := l.Err(); err != nil {
		return err
	}
	if !l.queue.put(r) {
		return ErrClosed
	}
	<-r.done
	return r.err
}

// Close stores what waits, stops the goroutines and gives the directory up. It
// waits for the disk.
func (l *Log) Close() error {
	if !l.queue.close() {
		return ErrClosed
	}
	close(l.closing)
	l.running.Wait()
	closed := ErrClosed
	l.ended.CompareAndSwap(nil, &closed)
	if l.options.Registerer != nil {
		l.options.Registerer.Unregister(l)
	}
	err := l.closeFiles()
	if failed := l.Err(); !errors.Is(failed, ErrClosed) {
		return failed
	}
	return err
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, seg := range l.segments.list {
		if seg.file != nil {
			errs = append(errs, seg.file.Close())
		}
	}
	if l.unlock != nil {
		errs = append(errs, l.unlock.Close())
	}
	return errors.Join(errs...)
}
