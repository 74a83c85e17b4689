package history

import (
	"reflect"
	"testing"
	"time"
)

func TestFiles(t *testing.T) {
	r := NewRecorder(42)
	r.Event(Event{Client: "b", Conn: r.NextConn("b"), Op: Publish, Invoke: 2, Return: Never, Outcome: Unknown, Payload: Payload("b", "t", 1)})
	r.Event(Event{Client: "a", Conn: r.NextConn("a"), Op: Connect, Invoke: 1, Return: 2, Outcome: OK, Expiry: Forever, WillDelay: time.Second})
	r.Fault("kill", "n1", "by seed")
	h := r.History()
	if h.Events[0].Client != "a" {
		t.Error("not in the order of Invoke")
	}
	dir := t.TempDir()
	if err := h.Write(dir); err != nil {
		t.Fatal(err)
	}
	back, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, back) {
		t.Errorf("wrote %+v, read %+v", h, back)
	}
}

func TestPayload(t *testing.T) {
	p := Payload("pub", "a/b", 7)
	if publisher, topic, seq, ok := ParsePayload(p); publisher != "pub" || topic != "a/b" || seq != 7 || !ok {
		t.Errorf("%q is read as %q %q %d %v", p, publisher, topic, seq, ok)
	}
	for _, bad := range []string{"", p[1:], p[:len(p)-1], p + "0", "x" + p[1:]} {
		if _, _, _, ok := ParsePayload(bad); ok {
			t.Errorf("%q passes", bad)
		}
	}
}
