package cluster

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// maxBatch is where the sender of a stream stops filling a gRPC message. A single
// larger frame still goes as one.
const maxBatch = 128 << 10

// batch is a stream's message in memory. When sending, data is handed to gRPC,
// which returns it to the pool; when receiving, it is borrowed until free.
type batch struct {
	data []byte
	held mem.Buffer
}

// grab makes b an empty batch to append frames of about size bytes to.
func (b *batch) grab(size int) {
	if cap(b.data) == 0 {
		b.data = *batches.Get(size)
	}
	b.data = b.data[:0]
}

// each calls f for the frames of a received batch until one fails.
func (b *batch) each(bound int, f func(frame) error) error {
	for rest := b.data; len(rest) > 0; {
		fr, next, err := readFrame(rest, bound)
		if err == nil {
			err = f(fr)
		}
		if err != nil {
			return err
		}
		rest = next
	}
	return nil
}

// free ends the loan of a received batch.
func (b *batch) free() {
	if b.held != nil {
		b.held.Free()
		b.held, b.data = nil, nil
	}
}

// codec passes batches through gRPC as they are.
type codec struct{}

// Name is part of the content type, so that nobody else's codec takes the bytes.
func (codec) Name() string { return "dunlin" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*batch)
	if !ok {
		return nil, fmt.Errorf("cluster: %T on a stream of frames", v)
	}
	data := b.data
	b.data = nil
	return mem.BufferSlice{mem.NewBuffer(&data, &batches)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*batch)
	if !ok {
		return fmt.Errorf("cluster: %T on a stream of frames", v)
	}
	b.held = data.MaterializeToBuffer(&batches)
	b.data = b.held.ReadOnlyData()
	return nil
}
