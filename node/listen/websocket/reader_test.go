package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

const key = 0x04030201 // its bytes are 1, 2, 3, 4

// masked is a client's frame. first holds fin, the reserved bits and the kind.
func masked(first byte, payload string) string {
	b := appendHead(nil, 0, len(payload), true, key)
	b[0] = first
	at := len(b)
	b = append(b, payload...)
	mask(b[at:], b[at:], key)
	return string(b)
}

func closed(code Code) string {
	var c Control
	c.Close(code)
	return string(c.Append(nil))
}

const (
	fin   = finBit
	whole = fin | binaryData
)

var streams = []struct {
	name string
	in   string
	out  string
	owed string // the last answer
	err  error
}{
	{"nothing", "", "", "", nil},
	{"one frame", masked(whole, "abcdefg"), "abcdefg", "", nil},
	{"two frames", masked(whole, "abc") + masked(whole, "defgh"), "abcdefgh", "", nil},
	{"frames of one byte", masked(whole, "a") + masked(whole, "b") + masked(whole, "c"), "abc", "", nil},
	{"empty frames", masked(whole, "") + masked(whole, "a") + masked(whole, ""), "a", "", nil},
	{"length in two bytes", masked(whole, strings.Repeat("x", 126)), strings.Repeat("x", 126), "", nil},
	{"largest length in two bytes", masked(whole, strings.Repeat("x", 65535)), strings.Repeat("x", 65535), "", nil},
	{"length in eight bytes", masked(whole, strings.Repeat("x", 65536)) + masked(whole, "y"), strings.Repeat("x", 65536) + "y", "", nil},
	{"a frame without end", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00abc", "abc", "", nil},
	{"message in pieces", masked(binaryData, "ab") + masked(continuation, "cd") + masked(fin|continuation, "ef") + masked(whole, "g"), "abcdefg", "", nil},
	{"empty pieces", masked(binaryData, "") + masked(continuation, "") + masked(fin|continuation, ""), "", "", nil},
	{"ping", masked(fin|ping, "hello") + masked(whole, "a"), "a", "\x8a\x05hello", nil},
	{"ping without payload", masked(fin|ping, ""), "", "\x8a\x00", nil},
	{"longest ping", masked(fin|ping, strings.Repeat("p", 125)), "", "\x8a\x7d" + strings.Repeat("p", 125), nil},
	{"ping within a message", masked(binaryData, "ab") + masked(fin|ping, "p") + masked(fin|continuation, "cd"), "abcd", "\x8a\x01p", nil},
	{"pings", masked(fin|ping, "1") + masked(fin|ping, "2") + masked(fin|ping, "3"), "", "\x8a\x013", nil},
	{"pong that nobody asked for", masked(fin|pong, "x") + masked(whole, "a"), "a", "", nil},
	{"close", masked(whole, "a") + masked(fin|closing, "\x03\xe8bye") + masked(whole, "b"), "a", closed(Normal), ErrClosed},
	{"close without code", masked(fin|closing, ""), "", "\x88\x00", ErrClosed},
	{"going away", masked(fin|closing, "\x03\xe9"), "", "\x88\x02\x03\xe9", ErrClosed},
	{"private code", masked(fin|closing, "\x0f\xa0"), "", "\x88\x02\x0f\xa0", ErrClosed},
	{"close within a message", masked(binaryData, "a") + masked(fin|closing, "\x03\xe8"), "a", closed(Normal), ErrClosed},
	{"close after ping", masked(fin|ping, "1") + masked(fin|closing, "\x03\xe8"), "", closed(Normal), ErrClosed},

	{"text", masked(whole, "a") + masked(fin|text, "b"), "a", closed(BadKind), ErrText},
	{"piece of text", masked(text, ""), "", closed(BadKind), ErrText},
	{"not masked", "\x82\x01a", "", closed(BadProtocol), ErrProtocol},
	{"reserved bit", masked(whole|0x40, "compressed"), "", closed(BadProtocol), ErrProtocol},
	{"reserved bit of a ping", masked(fin|ping|0x10, ""), "", closed(BadProtocol), ErrProtocol},
	{"unknown kind", masked(fin|3, ""), "", closed(BadProtocol), ErrProtocol},
	{"unknown control frame", masked(fin|0xb, ""), "", closed(BadProtocol), ErrProtocol},
	{"continuation of nothing", masked(fin|continuation, "a"), "", closed(BadProtocol), ErrProtocol},
	{"message within a message", masked(binaryData, "a") + masked(whole, "b"), "a", closed(BadProtocol), ErrProtocol},
	{"text within a message", masked(binaryData, "a") + masked(fin|text, "b"), "a", closed(BadProtocol), ErrProtocol},
	{"ping in pieces", masked(ping, ""), "", closed(BadProtocol), ErrProtocol},
	{"ping too long", masked(fin|ping, strings.Repeat("p", 126)), "", closed(BadProtocol), ErrProtocol},
	{"two bytes for a small length", "\x82\xfe\x00\x7d\x00\x00\x00\x00", "", closed(BadProtocol), ErrProtocol},
	{"eight bytes for a small length", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00", "", closed(BadProtocol), ErrProtocol},
	{"length with a sign", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", closed(BadProtocol), ErrProtocol},
	{"close of one byte", masked(fin|closing, "x"), "", closed(BadProtocol), ErrProtocol},
	{"close with a code of no meaning", masked(fin|closing, "\x03\xe7"), "", closed(BadProtocol), ErrProtocol},
	{"close with a code not to be sent", masked(fin|closing, "\x03\xed"), "", closed(BadProtocol), ErrProtocol},
	{"close with a code of the future", masked(fin|closing, "\x07\xd0"), "", closed(BadProtocol), ErrProtocol},
	{"close with a reason that is no text", masked(fin|closing, "\x03\xe8\xff"), "", closed(BadText), ErrProtocol},
}

// feed has r read in, of which at most size bytes come at a time, with room for so
// many, and keeps to what Read says of what it leaves.
func feed(t testing.TB, r Reader, in []byte, size, room int) (out, owed []byte, err error) {
	var src []byte
	var last Control
	dst := make([]byte, room)
	for {
		var c Control
		m, n, err := r.Read(dst, src, &c)
		out = append(out, dst[:m]...)
		if c.Owed() {
			last = c
		}
		if err != nil {
			return out, last.Append(nil), err
		}
		if m < len(dst) && len(src)-n > MaxKept {
			t.Fatalf("%d bytes left", len(src)-n)
		}
		src = append(src[:0], src[n:]...)
		if m == len(dst) && len(src) > 0 {
			continue
		}
		if len(in) == 0 {
			return out, last.Append(nil), nil
		}
		k := min(size, len(in))
		src, in = append(src, in[:k]...), in[k:]
	}
}

func TestReader(t *testing.T) {
	for _, tt := range streams {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1 << 20, 1, 2, 3, 7, 1000} {
				out, owed, err := feed(t, Reader{}, []byte(tt.in), size, max(size, 5))
				if string(out) != tt.out || string(owed) != tt.owed || !errors.Is(err, tt.err) {
					t.Fatalf("%d bytes at a time: %.20q, %q, %v; want %.20q, %q, %v", size, out, owed, err, tt.out, tt.owed, tt.err)
				}
			}
		})
	}
}

// What a server sends is read as what a client sends, without masks.
func TestServerReader(t *testing.T) {
	in := append(AppendHead(nil, 3), "abc"...)
	var c Control
	c.answer(ping, []byte("p"))
	in = c.Append(in)
	in = append(AppendHead(in, 70_000), make([]byte, 70_000)...)
	out, owed, err := feed(t, NewServerReader(), in, 1000, 1000)
	if err != nil || len(out) != 70_003 || string(owed) != "\x8a\x01p" {
		t.Errorf("%d bytes, %q, %v", len(out), owed, err)
	}
	if _, _, err := feed(t, NewServerReader(), []byte(masked(whole, "a")), 100, 100); err != ErrProtocol {
		t.Errorf("a masked frame: %v", err)
	}
}

// A client's frames are what Reader reads, whatever their length.
func TestAppendMasked(t *testing.T) {
	var in, want []byte
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		payload := bytes.Repeat([]byte{byte(n)}, n)
		in, want = AppendMasked(in, payload, uint32(n)*0x9e3779b1), append(want, payload...)
	}
	var c Control
	c.Close(Normal)
	in = c.AppendMasked(in, key)
	out, owed, err := feed(t, Reader{}, in, 777, 500)
	if !bytes.Equal(out, want) || string(owed) != closed(Normal) || err != ErrClosed {
		t.Errorf("%d bytes of %d, %q, %v", len(out), len(want), owed, err)
	}
}

// mask is compared with a byte at a time, in place and moved forward by little.
func TestMask(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n, gap, k := r.IntN(100), r.IntN(16), r.Uint32()
		b := make([]byte, gap+n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		var bytes4 [4]byte
		binary.LittleEndian.PutUint32(bytes4[:], k)
		want := make([]byte, n)
		for i := range want {
			want[i] = b[gap+i] ^ bytes4[i%4]
		}
		next := mask(b, b[gap:], k)
		if !bytes.Equal(b[:n], want) {
			t.Fatalf("%d bytes moved by %d", n, gap)
		}
		if byte(next) != bytes4[n%4] || byte(next>>8) != bytes4[(n+1)%4] {
			t.Fatalf("key %x goes on as %x after %d bytes", k, next, n)
		}
	}
}

// Frames that come in pieces give what they give at once.
func FuzzReader(f *testing.F) {
	for _, tt := range streams {
		if len(tt.in) < 1<<10 {
			f.Add([]byte(tt.in), uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		out, owed, err := feed(t, Reader{}, in, len(in)+1, len(in)+1)
		out2, owed2, err2 := feed(t, Reader{}, in, int(size)+1, int(size)/2+1)
		if !bytes.Equal(out, out2) || !bytes.Equal(owed, owed2) || err != err2 {
			t.Fatalf("at once: %q %q %v; %d at a time: %q %q %v", out, owed, err, int(size)+1, out2, owed2, err2)
		}
		if (err != nil) != (len(owed) > 0 && owed[0] == finBit|closing) {
			t.Fatalf("%v, and yet the answer is %q", err, owed)
		}
	})
}

// FuzzFrames has a client and a server put bytes into frames, between pings, and cuts what
// they send anywhere: the other reads the bytes, and owes an answer to the last ping.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("payload"), uint32(0x01020304), uint16(3), uint8(2))
	f.Add(bytes.Repeat([]byte{0}, 1000), uint32(0), uint16(65535), uint8(255))
	f.Fuzz(func(t *testing.T, payload []byte, key uint32, each uint16, size uint8) {
		if len(payload) > 1<<12 {
			return // each byte may be a frame
		}
		var client, server, asked []byte
		for rest := payload; len(rest) > 0; {
			n := min(int(each)+1, len(rest))
			asked = rest[:min(n, maxControl)]
			client = appendHead(client, ping, len(asked), true, key)
			at := len(client)
			client = append(client, asked...)
			mask(client[at:], client[at:], key)
			client = AppendMasked(client, rest[:n], key)
			server = append(AppendHead(server, n), rest[:n]...)
			rest = rest[n:]
			key = key*0x9e3779b1 + 1
		}
		var pongs []byte
		if len(asked) > 0 {
			pongs = append(appendHead(nil, pong, len(asked), false, 0), asked...)
		}
		out, owed, err := feed(t, Reader{}, client, int(size)+1, int(each)%1000+1)
		if err != nil || !bytes.Equal(out, payload) || !bytes.Equal(owed, pongs) {
			t.Fatalf("from the client %d of %d bytes, %q, %v", len(out), len(payload), owed, err)
		}
		out, owed, err = feed(t, NewServerReader(), server, int(size)+1, int(each)%1000+1)
		if err != nil || !bytes.Equal(out, payload) || len(owed) > 0 {
			t.Fatalf("from the server %d of %d bytes, %q, %v", len(out), len(payload), owed, err)
		}
	})
}

// What a peer can make a turn do with one buffer of bytes.
func BenchmarkRead(b *testing.B) {
	const turn = 64 << 10
	for _, bb := range []struct{ name, frame string }{
		{"64KiB", masked(whole, strings.Repeat("x", turn-14))},
		{"1KiB", masked(whole, strings.Repeat("x", 1024))},
		{"64B", masked(whole, strings.Repeat("x", 64))},
		{"1B", masked(whole, "x")},
		{"empty", masked(whole, "")},
		{"pings", masked(fin|ping, "")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			frames := []byte(strings.Repeat(bb.frame, turn/len(bb.frame)))
			src, dst := make([]byte, len(frames)), make([]byte, len(frames))
			b.SetBytes(int64(len(frames)))
			b.ReportAllocs()
			for b.Loop() {
				copy(src, frames)
				var r Reader
				var c Control
				if _, n, err := r.Read(dst, src, &c); n != len(src) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
