package raftnet

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// queue is what waits to be written to one stream: two rows of records, already
// in their bytes. Any goroutine appends, one writes.
type queue struct {
	maxBulk int           // bytes waiting, before who appends must wait
	wake    chan struct{} // one pending signal for the writer
	soon    chan struct{} // and one that something waits for the next beat
	writing atomic.Int64  // bytes of bulk that were taken to be written, and are not

	mu struct {
		sync.Mutex
		up           bool
		resting      bool // the next beat is far off
		urgent, bulk []byte
		room         chan struct{} // not nil if somebody waits: closed when bulk was taken or the stream broke
	}
}

func (q *queue) init(maxBulk int) {
	q.maxBulk = maxBulk
	q.wake = make(chan struct{}, 1)
	q.soon = make(chan struct{}, 1)
}

// begin makes the queue one of a stream that is up; end drops what waits.
func (q *queue) begin() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.up = true
}

func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.up = false
	q.mu.urgent, q.mu.bulk = nil, nil
	q.roomLocked()
}

func (q *queue) isUp() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.up
}

func (q *queue) roomLocked() {
	if q.mu.room != nil {
		close(q.mu.room)
		q.mu.room = nil
	}
}

// lock locks the queue if its stream is up.
func (q *queue) lock() error {
	q.mu.Lock()
	if !q.mu.up {
		q.mu.Unlock()
		return ErrUnreachable
	}
	return nil
}

// lockFor locks the queue once size more bytes of bulk have room, which anything
// has if nothing waits. It gives up when ctx does.
func (q *queue) lockFor(ctx context.Context, size int) error {
	for {
		if err := q.lock(); err != nil {
			return err
		}
		if len(q.mu.bulk) == 0 || len(q.mu.bulk)+size <= q.maxBulk {
			return nil
		}
		if q.mu.room == nil {
			q.mu.room = make(chan struct{})
		}
		room := q.mu.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unlock lets the writer know, unless what was appended can wait for the beat.
func (q *queue) unlock(lazy bool) {
	rested := q.mu.resting
	if lazy {
		q.mu.resting = false
	}
	q.mu.Unlock()
	switch {
	case !lazy:
		signal(q.wake)
	case rested:
		signal(q.soon)
	}
}

// rest sets when the next beat is: soon, or when that of a quiet peer is.
func (q *queue) rest(t *time.Timer, p *pulse, soon bool) {
	soon = soon || p.watched()
	q.mu.Lock()
	q.mu.resting = !soon
	q.mu.Unlock()
	t.Reset(p.until(soon))
}

// write writes what is there whenever something is, until the stream or ctx
// ends. With a pulse that is not nil it also writes what was not worth a wake-up,
// with the next beat.
func (q *queue) write(ctx context.Context, s Stream, p *pulse) error {
	var tick <-chan time.Time
	var timer *time.Timer
	if p != nil {
		timer = time.NewTimer(p.fast)
		defer timer.Stop()
		tick = timer.C
	}
	var urgent, bulk []byte // being written
	at := 0                 // how much of bulk is
	for {
		select {
		case <-q.wake:
		case <-q.soon:
			if timer != nil {
				q.rest(timer, p, true)
			}
			continue
		case <-tick:
			q.mu.Lock()
			if len(q.mu.urgent) == 0 {
				q.mu.urgent = p.append(q.mu.urgent)
			}
			q.mu.Unlock()
			q.rest(timer, p, false)
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			q.mu.Lock()
			urgent, q.mu.urgent = q.mu.urgent, keep(urgent)
			if at == len(bulk) && len(q.mu.bulk) > 0 {
				bulk, q.mu.bulk = q.mu.bulk, keep(bulk)
				at = 0
				q.writing.Store(int64(len(bulk)))
				q.roomLocked()
			}
			q.mu.Unlock()
			if len(urgent) == 0 && at == len(bulk) {
				break
			}
			// Rarely is more urgent than fits.
			for rest := urgent; ; {
				n := min(len(rest), MaxPiece)
				m := min(len(bulk)-at, MaxPiece-n)
				if err := s.Send(rest[:n], bulk[at:at+m]); err != nil {
					return err
				}
				at += m
				q.writing.Store(int64(len(bulk) - at))
				if rest = rest[n:]; len(rest) == 0 {
					break
				}
			}
		}
	}
}

// keep empties a buffer for the next use, or drops it if it has grown large.
func keep(b []byte) []byte {
	if cap(b) > keepBytes {
		return nil
	}
	return b[:0]
}

// signal leaves a signal for whoever waits on c.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
