package broker

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"dunlin/node/listen"
)

// The slab gives back the text that a connection was given last, the strings that it gave
// out stay what they were, and it holds no more memory than four times what is in use.
func TestTextsAreKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var s slab
	const places = slabChunk + slabChunk/2
	model := make(map[uint32]string) // by index
	type gift struct{ lent, copied string }
	var given []gift
	piece := func() []byte {
		size := rng.IntN(60)
		if rng.IntN(50) == 0 {
			size = rng.IntN(2 * longText)
		}
		return bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, size)
	}
	for step := range 30_000 {
		i := rng.Uint32N(places)
		c := s.make(i)
		text, open := model[i]
		switch much := step / 5000 % 2; {
		case !open && (much == 0 || rng.IntN(10) == 0):
			*c = conn{id: listen.ID(1<<32 | uint64(i)), phase: fresh}
			model[i] = ""
		case !open:
		case rng.IntN(4) == 0:
			p := piece()
			s.setText(c, p)
			model[i] = string(p)
		case rng.IntN(4) == much:
			s.free(c)
			delete(model, i)
		default:
			p := piece()
			s.addText(c, p)
			model[i] = text + string(p)
		}
		if want, open := model[i]; open {
			got := s.text(c)
			if got != want {
				t.Fatalf("step %d: %q instead of %q", step, got, want)
			}
			if step%7 == 0 {
				given = append(given, gift{got, strings.Clone(got)})
			}
		}
		for _, k := range s.chunks {
			if n := k.texts.Cap(); n > 4*k.inUse && n > minTexts+minTexts/4 {
				t.Fatalf("step %d: %d bytes for %d", step, n, k.inUse)
			}
		}
	}
	for i, want := range model {
		if got := s.text(s.at(i)); got != want {
			t.Fatalf("at last: %q instead of %q", got, want)
		}
		s.free(s.at(i))
	}
	for _, k := range s.chunks {
		if k.inUse != 0 || k.texts.Cap() > minTexts+minTexts/4 {
			t.Errorf("%d bytes for nobody, %d counted", k.texts.Cap(), k.inUse)
		}
	}
	for _, g := range given {
		if g.lent != g.copied {
			t.Fatalf("%q became %q", g.copied, g.lent)
		}
	}
}

// What is unknown of a connection's publishes stops those of that one and of none that
// has its place later, whenever it comes to be known.
func TestCutsAreOfOneConnection(t *testing.T) {
	var x latestCut
	const first, second = listen.ID(1<<32 | 7), listen.ID(2<<32 | 7)
	if x.isCut(first) {
		t.Error("cut from the start")
	}
	x.cutOff(first)
	if !x.isCut(first) || x.isCut(second) {
		t.Error("the first: not cut, or the second with it")
	}
	x.cutOff(second)
	x.cutOff(first)
	if !x.isCut(first) || !x.isCut(second) {
		t.Error("the second's cut is forgotten")
	}
	var none *latestCut
	if none.cutOff(first); none.isCut(first) {
		t.Error("nobody is cut")
	}
}
