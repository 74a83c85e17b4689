package client

import (
	"fmt"
	"io"
	"net"

	"dunlin/proto/mqtt"
)

// input cuts packets out of the stream.
type input struct {
	conn    net.Conn
	version mqtt.Version
	buf     []byte
	packet  mqtt.Packet
}

// next waits for a packet, which is borrowed until the next call.
func (in *input) next() (*mqtt.Packet, error) {
	for {
		f, size, err := mqtt.Cut(in.buf, maxPacket)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			if err := in.fill(); err != nil {
				return nil, err
			}
			continue
		}
		if err := mqtt.Decode(f, in.version, &in.packet); err != nil {
			return nil, fmt.Errorf("%s from the server: %w", f.Kind(), err)
		}
		if err := in.packet.FromServer(in.version); err != nil {
			return nil, fmt.Errorf("%s from the server: %w", f.Kind(), err)
		}
		in.buf = in.buf[size:]
		return &in.packet, nil
	}
}

// fill reads more. What was cut off goes when the buffer is full.
func (in *input) fill() error {
	if cap(in.buf)-len(in.buf) < 4096 {
		grown := make([]byte, len(in.buf), 2*len(in.buf)+16384)
		copy(grown, in.buf)
		in.buf = grown
	}
	n, err := in.conn.Read(in.buf[len(in.buf):cap(in.buf)])
	in.buf = in.buf[:len(in.buf)+n]
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	if n > 0 {
		return nil
	}
	return err
}
