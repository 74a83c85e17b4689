package raftnet

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// deaf is a stream that swallows everything until it is broken.
type deaf struct{ ctx context.Context }

func (d deaf) Send(_, _ []byte) error { return d.ctx.Err() }
func (d deaf) Recv(func(Class, []byte) error) error {
	<-d.ctx.Done()
	return io.EOF
}

// Streams break while many ask: each ask ends exactly once, by its callback or by
// Start's error, and none lets the count of unanswered bytes drift.
func TestEveryAskEndsOnce(t *testing.T) {
	n, err := New("a", DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c := n.Connect("b", nil)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			_ = c.Run(ctx, deaf{ctx}, cancel)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				var ends atomic.Int32
				err := n.Start(t.Context(), "b", 1, 1, []byte("x"), func(_ []byte, err error) {
					if !errors.Is(err, ErrBroken) {
						t.Error(err)
					}
					if ends.Add(1) > 1 {
						t.Error("ended twice")
					}
				})
				if err != nil && ends.Add(1) > 1 {
					t.Errorf("ended by its callback and by %v", err)
				}
			}
		})
	}
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	wg.Wait()
	if len(c.mu.pending) > 0 || c.mu.asking != 0 {
		t.Errorf("%d asks, %d bytes are left", len(c.mu.pending), c.mu.asking)
	}
}

// Parts of a node that do not know of each other share the numbers of asks.
func TestOneHandlerForEachKind(t *testing.T) {
	n, err := New("a", DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for name, handle := range map[string]func(){
		"asks":   func() { n.Handle(7, func(string, uint16, []byte, func([]byte, error)) {}) },
		"pushes": func() { n.HandlePush(7, func(string, uint16, []byte) error { return nil }) },
	} {
		handle()
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("two handlers of %s", name)
				}
			}()
			handle()
		}()
	}
}
