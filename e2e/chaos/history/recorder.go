package history

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Recorder collects a history from many goroutines.
type Recorder struct {
	start time.Time // its monotonic reading is the clock
	seed  uint64
	mu    struct {
		sync.Mutex
		events []Event
		faults []Fault
		conns  map[string]int
	}
}

// NewRecorder begins a history.
func NewRecorder(seed uint64) *Recorder {
	r := &Recorder{start: time.Now(), seed: seed}
	r.mu.conns = make(map[string]int)
	return r
}

// Now is the time on the history's clock.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// NextConn numbers a connection of client. Several may be open at once, under
// way to different nodes; the number says which was begun last.
func (r *Recorder) NextConn(client string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.conns[client]++
	return r.mu.conns[client]
}

// Event adds what a client did or saw.
func (r *Recorder) Event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.events = append(r.mu.events, e)
}

// Fault adds what the nemesis did, now.
func (r *Recorder) Fault(kind, node, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.faults = append(r.mu.faults, Fault{At: r.Now(), Kind: kind, Node: node, Text: text})
}

// History is what was recorded so far, in order.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &History{Seed: r.seed, Faults: slices.Clone(r.mu.faults), Events: slices.Clone(r.mu.events)}
	h.Sort()
	return h
}

// Sort brings events into the order of Invoke; those of one time stay as they
// were recorded.
func (h *History) Sort() {
	slices.SortStableFunc(h.Events, func(a, b Event) int { return cmp.Compare(a.Invoke, b.Invoke) })
}
