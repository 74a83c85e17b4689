package listen

import "errors"

// A Layer is a protocol on one connection's byte stream, between what comes from
// below, which is the socket or another Layer, and what is above, which is another
// Layer or the Handler: TLS, WebSocket, the PROXY protocol. It is a state machine
// that does no I/O, cannot block, and is called from the loop's goroutine alone.
//
// It holds no buffers while the connection is idle: bytes that it cannot use yet it
// leaves in Flow.Src, and they come again with more behind them.
type Layer interface {
	// Decode turns bytes from below into bytes for above. It is called when there
	// are more of them, when it had set Flow.More, and after the connection's wake
	// function was called, then perhaps with nothing new. What it has done counts even
	// if it returns an error, with which the connection ends: its replies are sent, and
	// nothing after them. io.EOF is the orderly end of the peer's stream, like one of the
	// socket: what the Handler says to what has come still goes out, and then Goodbye.
	Decode(f *Flow) (State, error)

	// Encode appends to dst what b, from above, is below, all of it. It is called
	// for a Layer that is Ready.
	Encode(dst, b []byte) ([]byte, error)

	// Goodbye appends to dst the last that a Layer which is Ready has to say, as the
	// connection is closed from here or after the peer's io.EOF.
	Goodbye(dst []byte) []byte

	// Describe adds to info what the Layer knows of the peer. It is called once, when
	// all Layers of the connection are Ready, from the bottom up; that of a PROXY header
	// as soon as it has come.
	Describe(info *Info)

	// Close ends what the Layer has under way elsewhere; it is the last call.
	Close()
}

// A Protocol makes the Layers of a listener's connections, one for each; info is what
// the socket tells. A Layer whose work goes on in another goroutine, which may be so
// only until it is Ready, has itself called again by wake.
type Protocol interface {
	NewLayer(info Info, wake func()) Layer
}

// State is how far a Layer has come.
type State uint8

const (
	// Opening: it is still agreeing with the peer on who talks and how, and gives
	// nothing to above.
	Opening State = iota
	// Ready: bytes go both ways.
	Ready
	// Spent: it has no more to do, and is taken out. For what comes until then
	// it calls Flow.Pass, and Encode appends b as it is.
	Spent
)

// A Flow is the bytes that a Layer works on in one call of Decode. They are lent.
type Flow struct {
	Src   []byte // from below: the Layer cuts off at the front what it has taken; it may overwrite it
	Dst   []byte // for above: the Layer appends, up to the capacity, which may be small, and not beyond
	Reply []byte // for below: the Layer appends what it has itself to say to the peer
	More  bool   // set by the Layer: it has stopped for want of room, or after work enough for a turn
	Busy  bool   // set by a Layer that is Opening: its goroutine has what came, and will wake the loop
}

// Room is the number of bytes that Dst still takes.
func (f *Flow) Room() int { return cap(f.Dst) - len(f.Dst) }

// Pass moves bytes from below to above as they are.
func (f *Flow) Pass() {
	n := min(f.Room(), len(f.Src))
	f.Dst = append(f.Dst, f.Src[:n]...)
	f.Src = f.Src[n:]
	f.More = len(f.Src) > 0
}

// layerBuffer is the size of the buffers between socket and Layers, and with that
// the most that a Layer may leave in Flow.Src before it must make progress.
const layerBuffer = 64 << 10

var errLayerStuck = errors.New("listen: layer takes nothing of a full buffer")
