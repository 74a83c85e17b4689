package audit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLines = 1024
	patience   = time.Second // that the line of a change waits for room in the queue

	// The budget of each kind of refusal.
	burst     = 20
	perSecond = 5

	// summary is how often what was left out is written, if no line of its kind comes.
	summary = 10 * time.Second
)

// Log is where the lines go. A nil one takes them and does nothing.
type Log struct {
	to    slog.Handler
	file  *file        // beneath to; nil: the node's log
	own   *slog.Logger // the node's log, which hears of trouble with to
	queue chan line

	refused [kinds]budget
	counts  struct{ written, leftOut, dropped, failed atomic.Uint64 }

	closing   chan struct{}
	closed    sync.WaitGroup
	closeOnce sync.Once
}

type line struct {
	at      time.Time
	event   Event
	leftOut uint64
}

// Counts are the lines since the start, by what became of them.
type Counts struct {
	Written uint64
	LeftOut uint64 // refusals beyond the budget of their kind
	Dropped uint64 // for want of room in the queue
	Failed  uint64 // to be written
}

// Options say where the lines go.
type Options struct {
	File    string // in JSON; "": the node's log
	MaxSize int64  // bytes after which the file is put aside
	Keep    int    // files put aside that are kept
	Log     *slog.Logger
}

// Open opens the file and begins to write; Close is to follow.
func Open(o Options) (*Log, error) {
	l := &Log{to: o.Log.Handler(), own: o.Log, queue: make(chan line, queueLines), closing: make(chan struct{})}
	if o.File != "" {
		f, err := openFile(o.File, o.MaxSize, o.Keep)
		if err != nil {
			return nil, err
		}
		l.file, l.to = f, slog.NewJSONHandler(f, nil)
	}
	l.closed.Go(l.run)
	return l, nil
}

// Close writes what is queued and ends the log. What comes after it is dropped.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.closeOnce.Do(func() { close(l.closing) })
	l.closed.Wait()
}

// Counts returns the counts.
func (l *Log) Counts() (c Counts) {
	if l == nil {
		return c
	}
	return Counts{
		Written: l.counts.written.Load(), LeftOut: l.counts.leftOut.Load(),
		Dropped: l.counts.dropped.Load(), Failed: l.counts.failed.Load(),
	}
}

// Did takes a change. It may wait a second for room, so it is not for event loops.
func (l *Log) Did(e Event) {
	if l == nil {
		return
	}
	x := line{at: time.Now(), event: e.cleaned()}
	select {
	case l.queue <- x:
		return
	default:
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case l.queue <- x:
	case <-late.C:
		l.counts.dropped.Add(1)
	}
}

// Refused takes a refusal, if the budget of its kind allows: then describe is called, whose texts
// may be lent. It never waits.
func (l *Log) Refused(k Kind, describe func() Event) {
	if l == nil {
		return
	}
	now := time.Now()
	leftOut, ok := l.refused[k].take(now)
	if !ok {
		l.counts.leftOut.Add(1)
		return
	}
	e := describe()
	e.What, e.Result = k.String(), Refused
	select {
	case l.queue <- line{now, e.cleaned(), leftOut}:
	default:
		l.counts.dropped.Add(1)
	}
}

// run writes until the log is closed.
func (l *Log) run() {
	tick := time.NewTicker(summary)
	defer tick.Stop()
	for {
		select {
		case x := <-l.queue:
			l.write(x)
		case now := <-tick.C:
			l.summarize(now)
		case <-l.closing:
			for len(l.queue) > 0 {
				l.write(<-l.queue)
			}
			l.summarize(time.Now())
			if l.file != nil {
				l.file.close()
			}
			return
		}
	}
}

// summarize writes what was left out since the latest line of each kind.
func (l *Log) summarize(now time.Time) {
	for k := range kinds {
		if n := l.refused[k].owed(); n > 0 {
			l.write(line{now, Event{What: k.String(), Result: Refused}, n})
		}
	}
}

func (l *Log) write(x line) {
	r := slog.NewRecord(x.at, slog.LevelInfo, "audit", 0)
	r.AddAttrs(x.event.attrs(x.leftOut)...)
	ctx := context.Background()
	if l.file == nil && !l.to.Enabled(ctx, slog.LevelInfo) {
		return // the node's log is told warnings only
	}
	err := l.to.Handle(ctx, r)
	if err == nil {
		l.counts.written.Add(1)
		return
	}
	if l.counts.failed.Add(1) == 1 {
		l.own.Error("the audit log cannot be written; dunlin_audit_lines_total counts what is lost", "err", err)
	}
}

// budget is a token bucket, in lines.
type budget struct {
	mu      sync.Mutex
	at      time.Time // of the latest take; zero: the bucket is full
	lines   float64
	leftOut uint64 // since the latest line
}

// take says whether a line may be written now, and how many were left out before it.
func (b *budget) take(now time.Time) (leftOut uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.lines = burst
	} else {
		b.lines = min(burst, b.lines+perSecond*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	if b.lines < 1 {
		b.leftOut++
		return 0, false
	}
	b.lines--
	leftOut, b.leftOut = b.leftOut, 0
	return leftOut, true
}

// owed is how many were left out since the latest line, to be told now.
func (b *budget) owed() (n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, b.leftOut = b.leftOut, 0
	return n
}
