package mqtt

import "testing"

// Decoding into a packet that has been used, and encoding into a buffer with
// room, take no memory, whatever the packet.
func TestNothingAllocated(t *testing.T) {
	out := make([]byte, 0, 1<<10)
	for _, g := range goldens(t) {
		var p Packet
		got := testing.AllocsPerRun(10, func() { // after a first run, which may
			f, _, err := Cut(g.bytes, MaxPacketSize)
			if err == nil {
				err = Decode(f, g.version, &p)
			}
			if err != nil {
				t.Error(err)
			}
			p.Append(out, g.version)
		})
		if got > 0 {
			t.Errorf("%s: %v allocations", g.name, got)
		}
	}
}

// A packet that fits its buffer to the byte is written into it, whatever
// lengths had to be moved for.
func TestAppendFitsExactly(t *testing.T) {
	for _, g := range goldens(t) {
		p, _ := g.decode()
		want := p.Append(nil, g.version)
		buffer := make([]byte, 0, len(want)+3)[: 3 : len(want)+3]
		got := p.Append(buffer, g.version)
		if &got[0] != &buffer[0] {
			t.Errorf("%s: left a buffer in which it fits", g.name)
		}
		if string(got[3:]) != string(want) {
			t.Errorf("%s: wrote %x, want %x", g.name, got[3:], want)
		}
	}
}

// Reading the properties of a message takes no memory either.
func TestPropertiesTakeNoMemory(t *testing.T) {
	ps := Properties(nil).AppendContentType("text/plain").AppendUserProperty("a", "b").AppendUserProperty("c", "d")
	users := 0
	if n := testing.AllocsPerRun(10, func() {
		for name, value := range ps.UserProperties() {
			users += len(name) + len(value)
		}
		if _, ok := ps.ContentType(); !ok {
			t.Error("no content type")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if users == 0 {
		t.Error("no user properties")
	}
}
