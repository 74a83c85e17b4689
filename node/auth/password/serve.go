package password

import (
	"encoding/gob"
	"errors"
	"io"
	"runtime"
	"sync"

	"dunlin/node/auth/crew"
)

// Serve is the life of a helper: it answers the questions of its node, each in a goroutine of
// its own, until in ends. The process it is called in gives way to all others from then on.
func Serve(in io.Reader, out io.Writer) error {
	// As many as it is asked at a time: beside them, the collector needs none.
	runtime.GOMAXPROCS(crew.Size())
	giveWay()
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
