package broker

import (
	"strings"

	"dunlin/node/limit"
)

// slabChunk is the number of connections that a slab takes memory for at a time.
const slabChunk = 256

// slab holds a worker's connections in chunks that never move, addressed by a
// dense index.
type slab struct {
	chunks []*chunk
	moving []byte // scratch: a text that moves
}

// chunk is slabChunk connections and what goes with each place.
//
// Their texts are one piece of memory without pointers, so that those of a million
// clients are nothing to the garbage collector. It is written at the end and nowhere
// else: when there is no room left, the texts in use move to another piece, and the
// strings that were given out keep the old one for as long as they are held. At most
// three quarters of it are not in use.
type chunk struct {
	conns [slabChunk]conn
	cuts  [slabChunk]latestCut
	flows *[slabChunk]limit.Account // nil where nobody's rate is limited
	texts strings.Builder
	inUse int // bytes of texts
}

const (
	// longText is the size of a text beyond which it has memory of its own.
	longText = 512
	// minTexts is the least memory that a chunk takes for texts.
	minTexts = 1 << 10
)

func (s *slab) chunk(i uint32) *chunk { return s.chunks[i/slabChunk] }

// at returns the slot, nil if the slab never was that large.
func (s *slab) at(i uint32) *conn {
	if n := int(i / slabChunk); n < len(s.chunks) {
		return &s.chunks[n].conns[i%slabChunk]
	}
	return nil
}

// make returns the slot, growing the slab to it.
func (s *slab) make(i uint32) *conn {
	for int(i/slabChunk) >= len(s.chunks) {
		s.chunks = append(s.chunks, new(chunk))
	}
	return s.at(i)
}

// account is that of c's slot.
func (s *slab) account(c *conn) *limit.Account {
	i := c.id.Index()
	k := s.chunk(i)
	if k.flows == nil {
		k.flows = new([slabChunk]limit.Account)
	}
	return &k.flows[i%slabChunk]
}

// free empties the slot of c.
func (s *slab) free(c *conn) {
	s.setText(c, nil)
	if k := s.chunk(c.id.Index()); k.flows != nil {
		*s.account(c) = limit.Account{}
	}
	*c = conn{}
}

// all visits every slot, free ones too.
func (s *slab) all(visit func(*conn)) {
	for _, k := range s.chunks {
		for i := range k.conns {
			visit(&k.conns[i])
		}
	}
}

// cut is where the cuts of c's slot are noted.
func (s *slab) cut(c *conn) *latestCut {
	i := c.id.Index()
	return &s.chunk(i).cuts[i%slabChunk]
}

// span is where a connection's text lies in its chunk's.
type span struct{ at, size uint32 }

func (t span) end() int { return int(t.at + t.size) }

// text is the text of c.
func (s *slab) text(c *conn) string {
	if c.client.long != nil {
		return c.client.long.String()
	}
	return s.chunk(c.id.Index()).texts.String()[c.client.text.at:][:c.client.text.size]
}

// setText gives c a text in place of the one that it has.
func (s *slab) setText(c *conn, text []byte) {
	k, cl := s.chunk(c.id.Index()), &c.client
	k.inUse -= int(cl.text.size)
	cl.text, cl.long = span{}, nil
	if len(text) > longText {
		cl.long = new(strings.Builder)
		cl.long.Write(text)
		text = nil
	}
	k.fit(len(text))
	if len(text) > 0 {
		cl.text.at = uint32(k.texts.Len())
		k.extend(cl, text)
	}
}

// addText adds to the end of the text of c.
func (s *slab) addText(c *conn, more []byte) {
	k, cl := s.chunk(c.id.Index()), &c.client
	isLast, size := cl.text.end() == k.texts.Len(), int(cl.text.size)+len(more)
	switch {
	case cl.long != nil:
		cl.long.Write(more)
	case isLast && size <= longText && k.texts.Len()+len(more) <= k.texts.Cap():
		k.extend(cl, more)
	default:
		s.moving = append(append(s.moving[:0], s.text(c)...), more...)
		s.setText(c, s.moving)
	}
}

// extend adds to the text that lies last. There is room.
func (k *chunk) extend(cl *client, more []byte) {
	k.texts.Write(more)
	k.inUse += len(more)
	cl.text.size += uint32(len(more))
}

// fit makes room for a text of more bytes, and gives back what is not needed.
func (k *chunk) fit(more int) {
	size, need := k.texts.Cap(), k.inUse+more
	if k.texts.Len()+more <= size && (size <= minTexts || size <= 4*need) {
		return
	}
	old := k.texts.String()
	k.texts.Reset()
	if need == 0 {
		return
	}
	k.texts.Grow(max(need+need/4, minTexts))
	for i := range k.conns {
		if t := &k.conns[i].client.text; t.size > 0 {
			at := k.texts.Len()
			k.texts.WriteString(old[t.at:t.end()])
			t.at = uint32(at)
		}
	}
}
