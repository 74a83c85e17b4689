package listen

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// frame is the test protocol: a length of four bytes, and so many bytes.
func cutFrame(b []byte) (frame []byte, want int) {
	if len(b) < 4 {
		return nil, 4
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	if len(b) < n {
		return nil, n
	}
	return b[:n], 0
}

// echoFrames answers each whole frame with itself.
func echoFrames(l Loop) func(ID, []byte) (int, int) {
	return func(id ID, b []byte) (int, int) {
		n := 0
		for {
			f, want := cutFrame(b[n:])
			if f == nil {
				return n, want
			}
			l.End(id, append(l.Begin(id), f...))
			n += len(f)
		}
	}
}

func echo(l Loop) Handler { return &funcs{receive: echoFrames(l)} }

func TestEchoRandomChunks(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.ReadBuffer = 4 << 10 // so that frames are larger and smaller
		_, addr := serve(t, o, echo)
		all(32, func(i int) {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			var sent []byte
			for len(sent) < 256<<10 {
				sent = append(sent, randomFrame(r)...)
			}
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			go func() {
				for b := sent; len(b) > 0; {
					n := min(1+r.IntN(1+r.IntN(20_000)), len(b))
					if _, err := c.Write(b[:n]); err != nil {
						t.Error(err)
						return
					}
					b = b[n:]
				}
			}()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil {
				t.Error(err)
			} else if sha256.Sum256(got) != sha256.Sum256(sent) {
				t.Errorf("connection %d: echo differs at byte %d", i, firstDifference(got, sent))
			}
		})
	})
}

func randomFrame(r *rand.Rand) []byte {
	n := r.IntN(64)
	switch r.IntN(20) {
	case 0:
		n = r.IntN(100_000)
	case 1, 2:
		n = r.IntN(6_000)
	}
	f := binary.BigEndian.AppendUint32(nil, uint32(n))
	for range n {
		f = append(f, byte(r.Uint32()))
	}
	return f
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// A half-closed peer is still answered.
func TestHalfClose(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		closed := make(chan error, 1)
		_, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{receive: echoFrames(l), closed: func(_ ID, err error) { closed <- err }}
		})
		c := dial(t, addr)
		f := append(binary.BigEndian.AppendUint32(nil, 300_000), make([]byte, 300_000)...)
		go func() {
			if _, err := c.Write(f); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
		}()
		got, err := io.ReadAll(c)
		must(t, err)
		if !bytes.Equal(got, f) {
			t.Errorf("%d bytes came back of %d", len(got), len(f))
		}
		if err := await(t, closed); err != nil {
			t.Errorf("closed with %v", err)
		}
	})
}
