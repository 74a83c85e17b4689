package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"dunlin/proto/mqtt"
)

// ear judges what a node says on a connection, whatever was said to it: well-formed
// packets that a server may send, the first of them CONNACK or AUTH, and none after one
// that is the last. Around them are, to one who came that way, an answer to the request
// for a WebSocket and a server's frames.
type ear struct {
	web      bool
	upgraded bool   // the request has been granted
	refused  bool   // it has been refused, with this and nothing behind
	closed   bool   // a close frame has come
	frames   []byte // of which no payload has been taken yet
	stream   []byte // packets

	version  mqtt.Version // 0: nothing has been said yet
	accepted bool         // CONNACK said so
	over     bool         // what came was the last packet
	packets  int
	pongs    int // PINGRESPs
}

// hear takes what has come and says what is wrong with it.
func (e *ear) hear(b []byte) error {
	if !e.web {
		e.stream = append(e.stream, b...)
		return e.cut()
	}
	e.frames = append(e.frames, b...)
	if !e.upgraded {
		if err := e.answer(); err != nil || !e.upgraded {
			return err
		}
	}
	for {
		n, err := e.frame()
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		e.frames = e.frames[n:]
		if err := e.cut(); err != nil {
			return err
		}
	}
}

// answer takes that to the request.
func (e *ear) answer() error {
	const granted = "HTTP/1.1 101 "
	if n := min(len(granted), len(e.frames)); e.refused || string(e.frames[:n]) != granted[:n] {
		if e.refused = true; !bytes.HasPrefix(e.frames, []byte("HTTP/1.1 4")[:min(len("HTTP/1.1 4"), len(e.frames))]) {
			return fmt.Errorf("the answer to a request begins %.40q", e.frames)
		}
		return nil
	}
	if at := bytes.Index(e.frames, []byte("\r\n\r\n")); at >= 0 {
		e.upgraded, e.frames = true, e.frames[at+4:]
	}
	return nil
}

// frame takes one frame of n bytes; 0: it is not there yet.
func (e *ear) frame() (n int, err error) {
	b := e.frames
	if len(b) < 2 {
		return 0, nil
	}
	if e.closed {
		return 0, errors.New("a frame after the close frame")
	}
	length, head := uint64(b[1]), 2
	switch {
	case b[1]&0x80 != 0:
		return 0, fmt.Errorf("a masked frame: % x", b[:2])
	case b[1] == 126:
		head = 4
		if len(b) >= head {
			length = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case b[1] == 127:
		head = 10
		if len(b) >= head {
			length = binary.BigEndian.Uint64(b[2:])
		}
	}
	if len(b) < head || uint64(len(b)-head) < length {
		return 0, nil
	}
	payload := b[head : head+int(length)]
	switch b[0] {
	case wsFin | wsBinary:
		e.stream = append(e.stream, payload...)
	case wsFin | wsPong:
	case wsFin | wsClose:
		e.closed = true
	default:
		return 0, fmt.Errorf("a frame that begins %#x", b[0])
	}
	return head + int(length), nil
}

// cut takes the packets that are whole.
func (e *ear) cut() error {
	for {
		f, n, err := mqtt.Cut(e.stream, mqtt.MaxPacketSize)
		if err != nil {
			return fmt.Errorf("no packet: %w: % x", err, e.stream[:min(len(e.stream), 32)])
		}
		if n == 0 {
			return nil
		}
		if err := e.packet(f); err != nil {
			return fmt.Errorf("%w: %x % x", err, f.First, f.Body[:min(len(f.Body), 64)])
		}
		e.stream = e.stream[n:]
	}
}

func (e *ear) packet(f mqtt.Frame) error {
	if e.over {
		return errors.New("a packet after the last")
	}
	if e.packets++; e.packets == 1 {
		// What the node took the client's version for shows in its answer.
		switch {
		case f.Kind() == mqtt.CONNACK && len(f.Body) == 2:
			e.version = mqtt.V311
		case f.Kind() == mqtt.CONNACK, f.Kind() == mqtt.AUTH:
			e.version = mqtt.V5
		default:
			return errors.New("the first packet")
		}
	}
	var p mqtt.Packet
	if err := mqtt.Decode(f, e.version, &p); err != nil {
		return fmt.Errorf("a bad packet: %w", err)
	}
	if err := p.FromServer(e.version); err != nil {
		return fmt.Errorf("no server's packet: %w", err)
	}
	switch p.Kind {
	case mqtt.CONNACK:
		if e.accepted {
			return errors.New("a second CONNACK")
		}
		e.accepted = p.Connack.Reason == mqtt.Success
		e.over = !e.accepted
	case mqtt.DISCONNECT:
		e.over = true
	case mqtt.PINGRESP:
		e.pongs++
	}
	if !e.accepted && !e.over && p.Kind != mqtt.AUTH {
		return errors.New("a packet before CONNACK")
	}
	return nil
}
