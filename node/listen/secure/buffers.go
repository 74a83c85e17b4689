package secure

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"sync"
	"unsafe"
)

// A tls.Conn keeps the buffers of its input for good: two kilobytes after a handshake,
// and as much as the largest record later. It offers no way to take them from one that
// is idle, so that is done here behind its back, where the fields are what they are
// known to be (a test says when they are not any more); else they stay.
var (
	rawInput = bufferOf("rawInput") // records as they come
	hand     = bufferOf("hand")     // handshake messages
)

// bufferOf finds a buffer in every tls.Conn; the result is nil if there is none of
// that name.
func bufferOf(name string) func(*tls.Conn) *bytes.Buffer {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return nil
	}
	return func(c *tls.Conn) *bytes.Buffer {
		return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), f.Offset))
	}
}

// inputs are empty buffers that no tls.Conn has at the moment.
var inputs = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// lendInput gives an idle connection a buffer for its input, until takeInput.
func lendInput(c *tls.Conn) *bytes.Buffer {
	if rawInput == nil {
		return nil
	}
	lent := inputs.Get().(*bytes.Buffer)
	if b := rawInput(c); b.Cap() == 0 {
		*b, *lent = *lent, bytes.Buffer{}
	}
	return lent
}

// takeInput takes the buffer back from a connection that has nothing left to read: its
// last Read found no record. From another one it takes nothing.
func takeInput(c *tls.Conn, lent *bytes.Buffer, idle bool) {
	if lent == nil {
		return
	}
	if b := rawInput(c); idle && b.Len() == 0 {
		b.Reset()
		*lent, *b = *b, bytes.Buffer{}
	}
	if lent.Cap() <= maxPooled {
		inputs.Put(lent)
	}
}

// maxPooled is enough for any record.
const maxPooled = 64 << 10

// dropHand frees what only the handshake needed.
func dropHand(c *tls.Conn) {
	if hand == nil {
		return
	}
	if b := hand(c); b.Len() == 0 {
		*b = bytes.Buffer{}
	}
}
