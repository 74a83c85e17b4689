package password

import (
	"encoding/gob"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"sync"

	"dunlin/node/auth/crew"
)

// hashMemory is what a helper may take for each hash at a time: twice what one does. Costlier
// hashes of other makers take more, and more of the collector.
const hashMemory = 2 * memory << 10

// Serve is the life of a helper: it answers the questions of its node, each in a goroutine of
// its own, until in ends. The process it is called in gives way to all others from then on.
func Serve(in io.Reader, out io.Writer) error {
	// As many as it is asked at a time: beside them, the collector needs none.
	n := crew.Size()
	runtime.GOMAXPROCS(n)
	debug.SetMemoryLimit(int64(n) * hashMemory)
	giveWay()
	return serve(in, out)
}

// serve is Serve that gives way to nobody.
func serve(in io.Reader, out io.Writer) error {
	var mu sync.Mutex
	answers := gob.NewEncoder(out)
	for questions := gob.NewDecoder(in); ; {
		var q question
		if err := questions.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		h, err := Parse(q.Hash)
		if err != nil {
			return err
		}
		go func() {
			a := answer{q.ID, h.matches(q.Password)}
			mu.Lock()
			defer mu.Unlock()
			_ = answers.Encode(a) // nobody is there to hear it: in has ended too
		}()
	}
}
