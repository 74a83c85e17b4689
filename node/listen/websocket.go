package listen

import (
	"errors"
	"io"
	"sync/atomic"

	"dunlin/node/listen/websocket"
)

// WebSocket is the Protocol of listeners for browsers. It may stand on TLS.
type WebSocket struct {
	gate       websocket.Gate
	refused    [websocket.Refusals]atomic.Uint64
	violations atomic.Uint64
}

// NewWebSocket lets in what gate does.
func NewWebSocket(gate websocket.Gate) *WebSocket { return &WebSocket{gate: gate} }

// Refused is the number of requests that were refused for a reason.
func (p *WebSocket) Refused(why websocket.Refusal) uint64 { return p.refused[why].Load() }

// Violations is the number of WebSockets closed because of a frame that must not be.
func (p *WebSocket) Violations() uint64 { return p.violations.Load() }

func (p *WebSocket) NewLayer(info Info, _ func()) Layer {
	return &webSocket{protocol: p, loopback: info.Loopback}
}

// errNoUpgrade ends a connection that never became a WebSocket.
var errNoUpgrade = errors.New("listen: request refused")

// webSocket is the Layer of one connection: 32 bytes, whatever goes on.
type webSocket struct {
	protocol *WebSocket
	reader   websocket.Reader
	loopback bool // of the listener
	open     bool // the request has been accepted
	closed   bool // the close frame has been sent, or what must be the last word instead
}

// Decode makes a stream of the frames that have come. As many as there are in a read
// are worked off at once: the smallest cost some 15 ns each, and no more than one of
// their pings is answered. A peer that pings and does not read meets MaxUnsent.
func (w *webSocket) Decode(f *Flow) (State, error) {
	if !w.open {
		if err := w.upgrade(f); err != nil || !w.open {
			return Opening, err
		}
	}
	var owed websocket.Control
	room := f.Dst[len(f.Dst):cap(f.Dst)]
	m, n, err := w.reader.Read(room, f.Src, &owed)
	f.Dst, f.Src = f.Dst[:len(f.Dst)+m], f.Src[n:]
	f.Reply = owed.Append(f.Reply)
	f.More = err == nil && m == len(room) && len(f.Src) > 0
	w.closed = owed.Closes()
	switch err {
	case nil:
	case websocket.ErrClosed:
		err = io.EOF
	default:
		w.protocol.violations.Add(1)
	}
	return Ready, err
}

// upgrade answers the request as soon as it is there.
func (w *webSocket) upgrade(f *Flow) error {
	answer, n, why := w.protocol.gate.Judge(f.Reply, f.Src, w.loopback)
	f.Reply = answer
	if why != websocket.Accepted {
		w.protocol.refused[why].Add(1)
		w.closed = true
		return errNoUpgrade
	}
	f.Src = f.Src[n:]
	w.open = n > 0
	return nil
}

// Encode puts one binary frame around all that goes out at a time ([MQTT-6.0.0-1]). Behind
// the close frame there is no other (RFC 6455, 5.5.1).
func (w *webSocket) Encode(dst, b []byte) ([]byte, error) {
	if w.closed {
		return dst, nil
	}
	return append(websocket.AppendHead(dst, len(b)), b...), nil
}

func (w *webSocket) Goodbye(dst []byte) []byte {
	if w.closed {
		return dst
	}
	var bye websocket.Control
	bye.Close(websocket.Normal)
	return bye.Append(dst)
}

func (w *webSocket) Describe(*Info) {}
func (w *webSocket) Close()         {}
