package raftnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is one end of a stream in memory.
type pipe struct {
	ctx     context.Context
	out, in chan [2][]byte
}

func newPipe(ctx context.Context) (a, b pipe) {
	x, y := make(chan [2][]byte, 1), make(chan [2][]byte, 1)
	return pipe{ctx, x, y}, pipe{ctx, y, x}
}

func (p pipe) Send(urgent, bulk []byte) error {
	select {
	case p.out <- [2][]byte{bytes.Clone(urgent), bytes.Clone(bulk)}:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p pipe) Recv(f func(Class, []byte) error) error {
	select {
	case rows := <-p.in:
		for c, row := range rows {
			if len(row) > 0 {
				if err := f(Class(c), row); err != nil {
					return err
				}
				clear(row) // it was borrowed
			}
		}
		return nil
	case <-p.ctx.Done():
		return io.EOF
	}
}

// join carries a's calls to b, and what b pushes to a, until the stream is cut.
// ended gives why either side did.
func join(t *testing.T, a, b *Net) (cut func(), ended chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	near, far := newPipe(ctx)
	c := a.Connect(b.Self(), nil)
	ended = make(chan error, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		ended <- c.Run(ctx, near, cancel)
		c.Close()
	})
	wg.Go(func() { ended <- b.Serve(ctx, a.Self(), far, wg.Go); cancel() })
	synctest.Wait()
	return func() { cancel(); wg.Wait() }, ended
}

func twoNets(t *testing.T) (a, b *Net) {
	t.Helper()
	var err error
	if a, err = New("a", DefaultOptions()); err == nil {
		b, err = New("b", DefaultOptions())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	return a, b
}

func appendBody(b []byte) func([]byte) []byte {
	return func(dst []byte) []byte { return append(dst, b...) }
}

// Answers and pushes arrive in the order in which they were given, whatever their
// sizes (what raftstore.Owners asks for).
func TestPushesStayInOrderWithAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoNets(t)
		rnd := rand.New(rand.NewPCG(1, 1))
		given := uint32(0)
		number := func() []byte {
			given++
			return append(binary.LittleEndian.AppendUint32(nil, given), make([]byte, rnd.IntN(1<<rnd.IntN(18)))...)
		}
		b.Handle(1, func(_ string, group uint16, _ []byte, reply func([]byte, error)) {
			for range rnd.IntN(3) {
				if n := number(); !b.Push("a", 9, group, len(n), appendBody(n)) {
					t.Error("not pushed")
				}
			}
			reply(number(), nil)
		})
		got := uint32(0)
		take := func(body []byte) {
			if n := binary.LittleEndian.Uint32(body); n != got+1 {
				t.Errorf("%d came after %d", n, got)
			}
			got++
		}
		a.HandlePush(9, func(from string, group uint16, body []byte) error {
			if from != "b" || group != 7 {
				t.Errorf("from %s about group %d", from, group)
			}
			take(body)
			return nil
		})
		cut, _ := join(t, a, b)
		defer cut()
		for range 500 {
			err := a.Start(t.Context(), "b", 7, 1, []byte("x"), func(body []byte, err error) {
				if err != nil {
					t.Error(err)
					return
				}
				take(body)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got != given || given < 500 {
			t.Errorf("%d of %d arrived", got, given)
		}
	})
}

func TestPushNeedsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoNets(t)
		var served atomic.Int32
		b.Served(func(node string) {
			if node != "a" {
				t.Errorf("%s was served", node)
			}
			// What is pushed from here on goes to the new stream.
			if !b.Push("a", 9, 0, 1, appendBody([]byte{byte(served.Add(1))})) {
				t.Error("not pushed")
			}
		})
		var got []byte
		a.HandlePush(9, func(_ string, _ uint16, body []byte) error {
			got = append(got, body...)
			return nil
		})
		push := func() bool { return b.Push("a", 9, 0, 1, appendBody([]byte{9})) }
		if push() || b.PushBacklog("a") != 0 {
			t.Error("pushed to a node that never was")
		}
		for range 2 {
			cut, _ := join(t, a, b)
			if !push() {
				t.Error("not pushed")
			}
			synctest.Wait()
			cut()
			if push() || b.PushBacklog("a") != 0 {
				t.Error("pushed over a broken stream")
			}
		}
		if !bytes.Equal(got, []byte{1, 9, 2, 9}) {
			t.Errorf("got %v", got)
		}
		if !a.Push("a", 9, 0, 1, appendBody([]byte{5})) || got[4] != 5 {
			t.Error("a node does not hear itself")
		}
		if a.Push("a", 8, 0, 1, appendBody([]byte{5})) {
			t.Error("pushed what nobody takes")
		}
	})
}

// A node that reads nothing costs no more than the bound, and its stream (P10).
func TestPushesToOneThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := twoNets(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, far := newPipe(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.Serve(ctx, "a", far, wg.Go); err == nil {
				t.Error("ended without an error")
			}
		})
		synctest.Wait()
		chunk, pushed := make([]byte, 1<<20), 0
		for b.Push("a", 9, 0, len(chunk), appendBody(chunk)) {
			if pushed++; pushed > 1 {
				continue
			}
			time.Sleep(time.Millisecond) // the writer takes the first
		}
		if most := maxReplies/len(chunk) + 2; pushed > most || pushed < most/2 || b.PushBacklog("a") != 0 {
			t.Errorf("%d chunks were taken, %d bytes are kept", pushed, b.PushBacklog("a"))
		}
		cancel()
		wg.Wait()
	})
}

// What nobody takes, or its handler finds malformed, ends the stream (case 53).
func TestMalformedPushEndsTheStream(t *testing.T) {
	for name, kind := range map[string]uint8{"unknown": 8, "refused": 9} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := twoNets(t)
				a.HandlePush(9, func(string, uint16, []byte) error { return malformed("by the handler") })
				cut, ended := join(t, a, b)
				b.Push("a", kind, 0, 1, appendBody([]byte("x")))
				synctest.Wait()
				cut()
				if err := errors.Join(<-ended, <-ended); !errors.Is(err, ErrMalformed) {
					t.Errorf("ended by %v", err)
				}
			})
		})
	}
}
