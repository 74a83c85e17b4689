package broker

// slabChunk is the number of connections that a slab takes memory for at a time.
const slabChunk = 256

// slab holds a worker's connections in chunks that never move, addressed by a
// dense index.
type slab struct{ chunks []*[slabChunk]conn }

// at returns the slot, nil if the slab never was that large.
func (s *slab) at(i uint32) *conn {
	if n := int(i / slabChunk); n < len(s.chunks) {
		return &s.chunks[n][i%slabChunk]
	}
	return nil
}

// make returns the slot, growing the slab to it.
func (s *slab) make(i uint32) *conn {
	for int(i/slabChunk) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([slabChunk]conn))
	}
	return s.at(i)
}

// all visits every slot, free ones too.
func (s *slab) all(visit func(*conn)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			visit(&chunk[i])
		}
	}
}
