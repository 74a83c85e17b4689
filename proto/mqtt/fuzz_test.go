package mqtt

import (
	"bytes"
	"errors"
	"testing"
	"unsafe"
)

// FuzzDecode reads any bytes in every version (case 60). What is refused is
// refused with a reason that has a name; what decodes survives checkDecoded.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.bytes)
	}
	for _, c := range refused {
		if len(c.bytes) < 1000 {
			f.Add(c.bytes)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []Version{V31, V311, V5} {
			for rest := b; ; {
				frame, n, err := Cut(rest, 1<<20)
				checkRefusal(t, err)
				if n == 0 {
					break
				}
				var p Packet
				if err := Decode(frame, v, &p); err != nil {
					checkRefusal(t, err)
				} else {
					checkDecoded(t, frame, v, &p)
				}
				rest = rest[n:]
			}
		}
	})
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var refusal *Error
	if err != nil && (!errors.As(err, &refusal) || !refusal.Reason.Failed() || reasonNames[refusal.Reason] == "") {
		t.Errorf("refused with %v", err)
	}
}

// checkDecoded holds p, decoded from f, to what is true of every decoded packet.
func checkDecoded(t *testing.T, f Frame, v Version, p *Packet) {
	t.Helper()
	if p.Kind == CONNECT {
		v = p.Connect.Version
	}
	for _, err := range []error{p.FromClient(), p.FromServer(v)} {
		checkRefusal(t, err)
	}
	checkMemory(t, len(f.Body), p)

	// It is written again, means the same, and is then written alike.
	want := meaning(p)
	again := p.Append(nil, v)
	g, n, err := Cut(again, MaxPacketSize)
	if err != nil || n != len(again) {
		t.Fatalf("%v: cut %d of %d bytes: %v\n%s", v, n, len(again), err, want)
	}
	var q Packet
	if err := Decode(g, v, &q); err != nil {
		t.Fatalf("%v: encoded as %x: %v\n%s", v, again, err, want)
	}
	if got := meaning(&q); got != want {
		t.Fatalf("%v: decoded\n%s\nand when encoded\n%s", v, want, got)
	}
	if third := q.Append(nil, v); !bytes.Equal(again, third) {
		t.Fatalf("%v: encoded as\n%x\nand as\n%x", v, again, third)
	}
	if p.Kind == PUBLISH {
		checkPublish(t, &p.Publish, v, again)
	}

	// A clone does not notice what becomes of the bytes.
	kept := Packet{Kind: p.Kind}
	switch p.Kind {
	case CONNECT:
		kept.Connect = *p.Connect.Clone()
	case PUBLISH:
		kept.Publish = *p.Publish.Clone()
	case SUBSCRIBE:
		kept.Subscribe = *p.Subscribe.Clone()
	case UNSUBSCRIBE:
		kept.Unsubscribe = *p.Unsubscribe.Clone()
	case AUTH:
		kept.Auth = *p.Auth.Clone()
	default:
		return
	}
	before := bytes.Clone(f.Body)
	for i := range f.Body {
		f.Body[i] ^= 0xFF
	}
	if got := meaning(&kept); got != want {
		t.Errorf("clone became\n%s\nfrom\n%s", got, want)
	}
	copy(f.Body, before)
}

// checkMemory holds the memory that p took to the proportion of the bytes it
// came from: the shortest line of a SUBSCRIBE has three bytes, that of an
// UNSUBSCRIBE two, and append may double.
func checkMemory(t *testing.T, length int, p *Packet) {
	t.Helper()
	took := cap(p.Subscribe.Filters)*int(unsafe.Sizeof(Subscription{})) + cap(p.Unsubscribe.Filters)*int(unsafe.Sizeof([]byte{})) +
		cap(p.Suback.Reasons) + 4*cap(p.Publish.SubscriptionIDs)
	if took > 64+32*length {
		t.Errorf("%v of %d bytes took %d bytes of memory", p.Kind, length, took)
	}
}

func checkPublish(t *testing.T, p *Publish, v Version, encoded []byte) {
	t.Helper()
	if size := p.Size(v); size != len(encoded) {
		t.Errorf("PUBLISH of %d bytes says that it has %d", len(encoded), size)
	}
	_ = p.CheckPayload()
	out, id := p.AppendAt([]byte("before"), v)
	if !bytes.Equal(out[len("before"):], encoded) {
		t.Errorf("AppendAt wrote %x, Append %x", out, encoded)
	}
	if p.QoS == 0 {
		if id != 0 {
			t.Errorf("QoS 0 with a packet identifier at %d", id)
		}
	} else if got := uint16(out[id])<<8 | uint16(out[id+1]); got != p.PacketID {
		t.Errorf("packet identifier is not at %d", id)
	}
}

// FuzzProperties reads a section that nobody has validated, as bytes from a
// peer or a disk may be: no getter and no copy may panic or invent.
func FuzzProperties(f *testing.F) {
	f.Add([]byte(Properties(nil).AppendPayloadFormat(true).AppendContentType("text/plain").
		AppendResponseTopic("answers").AppendCorrelationData([]byte{1}).AppendUserProperty("a", "b")))
	f.Add([]byte{byte(PropSubscriptionID), 0x80, 0x01, byte(PropTopicAlias), 0, 1, byte(PropUser), 0, 1, 'a', 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		ps := Properties(b)
		ps.PayloadFormat()
		ps.ContentType()
		ps.ResponseTopic()
		ps.CorrelationData()
		ps.ReasonString()
		users := 0
		for range ps.UserProperties() {
			users++
		}
		all := 0
		for range ps.All() {
			all++
		}
		if users > all || all > len(b)/2 {
			t.Errorf("%d properties, %d of them user properties, in %d bytes", all, users, len(b))
		}
		kept := Properties(ps.AppendApplication(nil))
		if again := kept.AppendApplication(nil); !bytes.Equal(kept, again) || len(kept) != ps.sizeOnly(application) {
			t.Errorf("copied as %x, and then as %x", []byte(kept), again)
		}
		for p := range kept.All() {
			if application&(1<<p.ID) == 0 {
				t.Errorf("%v copied", p.ID)
			}
		}
	})
}

// Every golden packet cut at every byte is a packet of which more is to come,
// and its body, cut at every byte, is refused or is a shorter packet.
func TestCutAtEveryByte(t *testing.T) {
	for _, g := range goldens(t) {
		whole, n, err := Cut(g.bytes, MaxPacketSize)
		if err != nil || n != len(g.bytes) {
			t.Fatalf("%s: cut %d of %d bytes: %v", g.name, n, len(g.bytes), err)
		}
		for i := range g.bytes {
			if _, n, err := Cut(g.bytes[:i], MaxPacketSize); n != 0 || err != nil {
				t.Errorf("%s: the first %d of %d bytes are cut as %d, %v", g.name, i, len(g.bytes), n, err)
			}
		}
		for i := range whole.Body {
			f := Frame{whole.First, whole.Body[:i:i]}
			var p Packet
			if err := Decode(f, g.version, &p); err != nil {
				checkRefusal(t, err)
				continue
			}
			checkDecoded(t, f, g.version, &p)
		}
	}
}
