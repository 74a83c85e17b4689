package client

import (
	"math/rand/v2"
	"sync"
	"time"

	"dunlin/e2e/chaos/history"
)

// Reader reads retained messages, one exact topic at a time, on one node after
// the other, until it is stopped.
type Reader struct {
	stop chan struct{}
	work sync.WaitGroup
}

// NewReader starts a reader of topics; it reads one each every.
func NewReader(id string, nodes []Node, topics []string, every time.Duration, seed uint64, rec *history.Recorder) *Reader {
	r := &Reader{stop: make(chan struct{})}
	rnd := rand.New(rand.NewPCG(seed, 1))
	r.work.Go(func() {
		var l *line
		for tick := time.NewTicker(every); ; {
			select {
			case <-r.stop:
				tick.Stop()
				if l != nil {
					l.end()
				}
				return
			case <-tick.C:
			}
			if l == nil {
				if l = connectLine(id, nodes[rnd.IntN(len(nodes))], 0, 5*time.Second, rec); l != nil && !l.setMark() {
					l.end()
					l = nil
				}
			}
			if l != nil && !l.readTopic(topics[rnd.IntN(len(topics))]) || l != nil && rnd.IntN(50) == 0 {
				l.end()
				l = nil
			}
		}
	})
	return r
}

// readTopic is one read: SUBSCRIBE, SUBACK, and the newest message that came before
// all was there that is retained.
func (l *line) readTopic(topic string) bool {
	l.reading, l.newest, l.came = topic, "", false
	e := history.Event{Op: history.Read, Topic: topic, Invoke: l.rec.Now()}
	if !l.subscribe(topic) {
		return false
	}
	at, ok := l.reachMark()
	if ok {
		at, ok = l.linger(300 * time.Millisecond)
	}
	e.Payload = l.newest
	l.done(e, at, ok)
	return ok && l.unsubscribe(topic)
}

// Stop ends the reader.
func (r *Reader) Stop() {
	close(r.stop)
	r.work.Wait()
}
