package secure

import (
	"crypto/tls"
	"errors"

	"dunlin/node/listen"
)

// readsPerCall bounds the records of data that one call of Decode opens; crypto/tls
// itself bounds those without data between two of them.
const readsPerCall = 64

// layer is TLS on one connection. It implements listen.Layer.
type layer struct {
	p    *Protocol
	conn *tls.Conn // nil until the handshake begins
	pipe pipe      // the handshake's goroutine shares it with the loop, under handshake.mu
}

// Decode implements listen.Layer.
func (l *layer) Decode(f *listen.Flow) (listen.State, error) {
	if h := l.pipe.shaking; h != nil {
		if ended, err := l.shake(h, f); !ended || err != nil {
			return listen.Opening, err
		}
	}
	return listen.Ready, l.open(f)
}

// shake takes part in the handshake for the loop.
func (l *layer) shake(h *handshake, f *listen.Flow) (ended bool, err error) {
	if !h.began {
		if len(f.Src) > 0 && f.Src[0] != recordHandshake {
			l.p.counts.ended(errNotTLS)
			h.began = true // and ended, by itself
			return false, errNotTLS
		}
		if _, ok := whole(f.Src); !ok || !l.p.admit(h) {
			return false, nil
		}
		h.began = true
		l.feed(f)
		l.conn = tls.Server(&l.pipe, l.p.config())
		l.p.running.Go(func() { h.run(l.p, l.conn) })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Reply = append(f.Reply, l.pipe.out...)
	l.pipe.out = l.pipe.out[:0]
	if !h.mu.ended {
		if h.mu.waits && l.feed(f) {
			h.mu.waits = false
			h.news.Signal()
		}
		f.Busy = !h.mu.waits
		return false, nil
	}
	if p := (*panicError)(nil); errors.As(h.mu.err, &p) {
		panic(p.Error()) // as if it had been here: the loop counts it and tells of it
	}
	if h.mu.err != nil {
		return true, h.mu.err
	}
	l.pipe = pipe{}
	dropHand(l.conn)
	return true, nil
}

// feed gives the handshake a record, if a whole one has come.
func (l *layer) feed(f *listen.Flow) bool {
	size, ok := whole(f.Src)
	if ok {
		l.pipe.in = append(l.pipe.in[:0], f.Src[:size]...)
		f.Src = f.Src[size:]
	}
	return ok
}

// open decrypts what has come.
func (l *layer) open(f *listen.Flow) error {
	l.pipe.in, l.pipe.out = f.Src, f.Reply
	lent := lendInput(l.conn)
	idle, err := l.read(f)
	takeInput(l.conn, lent, idle)
	f.Src, f.Reply = l.pipe.in, l.pipe.out
	l.pipe = pipe{left: l.pipe.left}
	return err
}

// read reads what it may of f.Src; idle: no record is left.
func (l *layer) read(f *listen.Flow) (idle bool, err error) {
	for range readsPerCall {
		if f.Room() == 0 {
			break
		}
		n, err := l.conn.Read(f.Dst[len(f.Dst):cap(f.Dst)])
		f.Dst = f.Dst[:len(f.Dst)+n]
		switch err {
		case nil:
		case errAgain:
			return true, nil
		default:
			return false, err
		}
	}
	f.More = true
	return false, nil
}

// Encode implements listen.Layer.
func (l *layer) Encode(dst, b []byte) ([]byte, error) {
	l.pipe.out = dst
	_, err := l.conn.Write(b)
	dst, l.pipe.out = l.pipe.out, nil
	return dst, err
}

// Goodbye implements listen.Layer with close_notify.
func (l *layer) Goodbye(dst []byte) []byte {
	l.pipe.out = dst
	_ = l.conn.CloseWrite() // it can only fail if nobody is to be told
	dst, l.pipe.out = l.pipe.out, nil
	return dst
}

// Describe implements listen.Layer.
func (l *layer) Describe(info *listen.Info) {
	state := l.conn.ConnectionState()
	if state.DidResume {
		l.p.counts.resumed.Add(1)
	}
	info.TLS = &state
}

// Close implements listen.Layer.
func (l *layer) Close() {
	h := l.pipe.shaking
	if h == nil {
		return
	}
	h.end(errAbandoned)
	if !h.began {
		l.p.leave(h)
		l.p.counts.ended(errAbandoned)
	}
}
