package bulk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster/raftnet"
)

// wire is a Net whose asks all come to one node, and whose stream can break.
type wire struct {
	handler raftnet.Handler
	broken  atomic.Bool
}

func (w *wire) Handle(_ uint8, h raftnet.Handler) { w.handler = h }

func (w *wire) Ask(ctx context.Context, _ string, group uint16, _ uint8, body []byte) ([]byte, error) {
	if w.broken.Load() {
		return nil, raftnet.ErrUnreachable
	}
	type answer struct {
		b   []byte
		err error
	}
	got := make(chan answer, 1)
	borrowed := bytes.Clone(body)
	w.handler("caller", group, borrowed, func(b []byte, err error) { got <- answer{bytes.Clone(b), err} })
	clear(borrowed) // it was lent
	select {
	case a := <-got:
		return a.b, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errKnown = errors.New("known")

func calls(t *testing.T) (*Calls, *wire) {
	w := new(wire)
	c := New(w, errKnown)
	t.Cleanup(c.Close)
	return c, w
}

// What goes in comes out, whatever its length.
func TestCall(t *testing.T) {
	c, _ := calls(t)
	c.Handle(1, func(_ context.Context, arg []byte, in io.Reader, out io.Writer) error {
		if _, err := out.Write(arg); err != nil {
			return err
		}
		all, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		for i := 0; i < len(all); i += 1000 {
			if _, err := out.Write(all[i:min(i+1000, len(all))]); err != nil {
				return err
			}
		}
		return nil
	})
	for _, n := range []int{0, 1, pieceBytes - 1, pieceBytes, 3*pieceBytes + 7} {
		sent := make([]byte, n)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		var got bytes.Buffer
		if err := c.Call(t.Context(), "n", 1, []byte("arg"), bytes.NewReader(sent), &got); err != nil {
			t.Fatal(n, err)
		}
		if !bytes.Equal(got.Bytes(), append([]byte("arg"), sent...)) {
			t.Errorf("%d bytes came back as %d", n, got.Len())
		}
	}
	if err := c.Call(t.Context(), "n", 2, nil, nil, nil); err == nil || len(c.mu.served) != 0 {
		t.Errorf("nobody does it: %v, %d left", err, len(c.mu.served))
	}
}

// An error arrives with its text, and as the one that both ends know.
func TestFailures(t *testing.T) {
	c, _ := calls(t)
	c.Handle(1, func(_ context.Context, _ []byte, _ io.Reader, out io.Writer) error {
		_, _ = out.Write([]byte("some"))
		return fmt.Errorf("shard 3: %w", errKnown)
	})
	err := c.Call(t.Context(), "n", 1, nil, bytes.NewReader(make([]byte, 3*pieceBytes)), io.Discard)
	var f *Failure
	if !errors.Is(err, errKnown) || !errors.As(err, &f) || f.Text != "shard 3: known" {
		t.Error(err)
	}
	c.Handle(1, func(context.Context, []byte, io.Reader, io.Writer) error { return errors.New("other") })
	if err := c.Call(t.Context(), "n", 1, nil, nil, nil); err == nil || errors.Is(err, errKnown) || err.Error() != "other" {
		t.Error(err)
	}
	torn := errors.New("torn")
	c.Handle(1, func(ctx context.Context, _ []byte, in io.Reader, _ io.Writer) error {
		_, err := io.Copy(io.Discard, in)
		return err
	})
	if err := c.Call(t.Context(), "n", 1, nil, io.MultiReader(bytes.NewReader([]byte("x")), &failing{torn}), nil); !errors.Is(err, torn) {
		t.Error(err)
	}
	if len(c.mu.served) != 0 {
		t.Errorf("%d calls are left", len(c.mu.served))
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// A handler whose caller has gone ends, at once if it said so and else after a
// while (P10).
func TestCallerIsGone(t *testing.T) {
	for _, quietly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, w := calls(t)
			ended := make(chan error, 1)
			c.Handle(1, func(ctx context.Context, _ []byte, _ io.Reader, out io.Writer) error {
				var err error
				for err == nil {
					_, err = out.Write(make([]byte, 1000))
				}
				ended <- err
				return err
			})
			ctx, stop := context.WithCancel(t.Context())
			begun := time.Now()
			err := c.Call(ctx, "n", 1, nil, nil, writer(func(b []byte) {
				if quietly {
					w.broken.Store(true)
				}
				stop()
			}))
			if err == nil {
				t.Error("the call ended well")
			}
			<-ended
			if took := time.Since(begun); took > patience || !quietly && took > 0 {
				t.Errorf("took %v", took)
			}
		})
	}
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func FuzzMessages(f *testing.F) {
	f.Add(appendHead(nil, verbOpen, 7))
	f.Add(appendFailure(nil, errKnown, []error{errKnown}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _, _ = readHead(b)
		if _, over, err := readAnswer(b, []error{errKnown}); err != nil && !over {
			t.Error("an error, and it goes on")
		}
		c, _ := calls(t)
		c.serve("x", 0, b, func([]byte, error) {})
	})
}
