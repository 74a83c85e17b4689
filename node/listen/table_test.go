package listen

import (
	"reflect"
	"testing"
	"unsafe"
)

// An idle connection costs this, and nothing for the garbage collector to look at.
func TestConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n != 32 {
		t.Errorf("a connection costs %d bytes", n)
	}
	for i := range reflect.TypeFor[conn]().NumField() {
		switch f := reflect.TypeFor[conn]().Field(i); f.Type.Kind() {
		case reflect.Int32, reflect.Uint32:
		default:
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
	}
}

// A name is never given twice, though generations are few.
func TestGenerationsEnd(t *testing.T) {
	tab := table{free: -1}
	index, c := tab.take()
	if index != 0 || c.gen == 0 {
		t.Fatalf("first connection: index %d, generation %d", index, c.gen)
	}
	c.gen = maxGeneration - 1
	tab.put(index)
	if again, c := tab.take(); again != index || c.gen != maxGeneration {
		t.Fatalf("index %d, generation %d", again, c.gen)
	}
	tab.put(index)
	if next, _ := tab.take(); next == index {
		t.Error("an index was used beyond its generations")
	}
}

func TestID(t *testing.T) {
	id := makeID(255, maxGeneration, 1<<32-1)
	if id.Loop() != 255 || id.generation() != maxGeneration || id.Index() != 1<<32-1 {
		t.Errorf("%x: %d %d %d", uint64(id), id.Loop(), id.generation(), id.Index())
	}
}

func TestBufferClasses(t *testing.T) {
	for n := range 3 << 20 {
		k := classOf(n)
		if minBuffer<<k < n || k > 0 && minBuffer<<(k-1) >= n {
			t.Fatalf("class of %d bytes is %d", n, k)
		}
	}
}

func TestBuffersAreBounded(t *testing.T) {
	var p buffers
	for k := range 2 * bufferClasses {
		for range 20 {
			p.put(make([]byte, 0, minBuffer<<min(k, 13)))
		}
	}
	if p.bytes > maxStock {
		t.Errorf("%d bytes in stock", p.bytes)
	}
	for k := range bufferClasses {
		if b := p.get(k); cap(b) < minBuffer<<k || len(b) != 0 {
			t.Errorf("class %d: %d of %d bytes", k, len(b), cap(b))
		}
	}
	for range 40 {
		p.trim()
	}
	if p.bytes != 0 {
		t.Errorf("%d bytes in stock, and nobody has asked for any", p.bytes)
	}
}
