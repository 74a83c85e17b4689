package session

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

func topic(t testing.TB, s string) router.Topic {
	t.Helper()
	tp, err := router.ParseTopic([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

func equal(a, b *Message) bool {
	return a.Topic.String() == b.Topic.String() && bytes.Equal(a.Payload, b.Payload) && bytes.Equal(a.Properties, b.Properties) &&
		a.QoS == b.QoS && a.Retain == b.Retain && a.HasExpiry == b.HasExpiry && a.Expiry == b.Expiry &&
		a.Origin == b.Origin && a.Seq == b.Seq && a.Retained == b.Retained && a.Replayed == b.Replayed
}

func someMessages(t testing.TB) map[string]Message {
	return map[string]Message{
		"least": {Topic: topic(t, "a")},
		"all": {
			Topic: topic(t, "a/b/c"), Payload: []byte("payload"), Properties: mqtt.Properties(nil).AppendUserProperty("k", "v"),
			QoS: 2, Retain: true, HasExpiry: true, Expiry: 60, Origin: 1 << 60, Seq: 300, Retained: 1 << 40, Replayed: true,
		},
		"long": {Topic: topic(t, strings.Repeat("x", 65535)), Payload: make([]byte, 100_000), QoS: 1},
	}
}

func TestMessagePackedForm(t *testing.T) {
	for name, m := range someMessages(t) {
		t.Run(name, func(t *testing.T) {
			packed := m.Append([]byte("before"), 0)
			var got Message
			rest, err := got.Parse(append(packed, "after"...)[len("before"):], 77)
			if err != nil || string(rest) != "after" {
				t.Fatalf("rest %q, %v", rest, err)
			}
			if !equal(&got, &m) || got.Received != 77 {
				t.Errorf("got %+v, want %+v", got, m)
			}
			packed = packed[len("before"):]
			if len(packed) > 1000 {
				return
			}
			for n := range packed {
				if _, err := got.Parse(packed[:n:n], 0); err == nil {
					t.Errorf("cut after %d bytes: no error", n)
				}
			}
		})
	}
}

func TestMessageParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, packed string
		want         error
	}{
		{"nothing", "", ErrMessageCut},
		{"version", "\x02\x00\x01a\x00\x00", ErrMessageVersion},
		{"QoS 3", "\x01\x03\x01a\x00\x00", ErrMessageFlags},
		{"unknown flag", "\x01\x80\x01a\x00\x00", ErrMessageFlags},
		{"retained at 0", "\x01\x20\x00\x01a\x00\x00", ErrMessageFlags},
		{"origin 0", "\x01\x10\x00\x01\x01a\x00\x00", ErrMessageFlags},
		{"empty topic", "\x01\x00\x00\x00\x00", router.ErrTopicInvalid},
		{"wildcard", "\x01\x00\x03a/#\x00\x00", router.ErrTopicInvalid},
		{"length not minimal", "\x01\x00\x81\x00a\x00\x00", ErrMessageCut},
		{"length of eleven bytes", "\x01\x00" + strings.Repeat("\xff", 10) + "\x01", ErrMessageCut},
		{"length beyond the end", "\x01\x00\x01a\x00\x05abcd", ErrMessageCut},
		{"topic too long", "\x01\x00\x80\x80\x04" + strings.Repeat("x", 65536) + "\x00\x00", ErrMessageCut},
	} {
		var m Message
		rest, err := m.Parse([]byte(tt.packed), 0)
		if !errors.Is(err, tt.want) || string(rest) != tt.packed {
			t.Errorf("%s: %v, rest of %d bytes; want %v and all", tt.name, err, len(rest), tt.want)
		}
	}
}

// The remaining expiry is counted from receipt and lowered at each send [T3].
func TestMessageExpiry(t *testing.T) {
	at := func(d time.Duration) Time { return Time(time.Hour + d) }
	m := Message{Topic: topic(t, "a"), HasExpiry: true, Expiry: 10, Received: at(0)}
	for _, tt := range []struct {
		after time.Duration
		left  uint32
	}{
		{-time.Second, 10}, {0, 10}, {999 * time.Millisecond, 10}, {time.Second, 9},
		{9999 * time.Millisecond, 1}, {10 * time.Second, 0}, {time.Hour, 0},
	} {
		if got := m.Left(at(tt.after)); got != tt.left {
			t.Errorf("%v later %d s are left, want %d", tt.after, got, tt.left)
		}
		if got := m.Expired(at(tt.after)); got != (tt.left == 0) {
			t.Errorf("%v later expired is %v", tt.after, got)
		}
	}
	// Three seconds here, four on another node, whose clock started elsewhere.
	var there Message
	if _, err := there.Parse(m.Append(nil, at(3*time.Second)), 5); err != nil {
		t.Fatal(err)
	}
	if got := there.Left(5 + Time(4*time.Second)); got != 3 {
		t.Errorf("%d s left at the next node, want 3", got)
	}
	never := Message{Topic: topic(t, "a")}
	if never.Expired(1 << 62) {
		t.Error("a message without expiry expired")
	}
}

func TestMessageClone(t *testing.T) {
	b := []byte("topicpayloadproperties")
	tp, err := router.ParseTopic(b[:5])
	if err != nil {
		t.Fatal(err)
	}
	m := Message{Topic: tp, Payload: b[5:12], Properties: b[12:]}
	c := m.Clone()
	clear(b)
	if c.Topic.String() != "topic" || string(c.Payload) != "payload" || string(c.Properties) != "properties" {
		t.Errorf("clone changed with its source: %+v", c)
	}
}

// Whoever has the forms gets its own bytes, and so do those that had them.
func TestShareIsSafe(t *testing.T) {
	var f Forms
	compare := func(m *Message, v mqtt.Version, qos mqtt.QoS, retain, dup bool, id uint16, now Time) {
		t.Helper()
		var want mqtt.Publish
		m.publish(&want, qos, retain, now)
		want.PacketID, want.Dup = id, dup
		if got := m.appendForm(v, qos, retain, dup, id, now, []byte("x")); string(got) != "x"+string(want.Append(nil, v)) {
			t.Errorf("version %d, QoS %d, retain %v, dup %v, id %d: got %q", v, qos, retain, dup, id, got)
		}
	}
	var former Message
	for _, m := range someMessages(t) {
		m.Share(&f)
		for range 3 {
			for _, now := range []Time{0, Seconds(5), Seconds(5), 0} {
				for id := range uint16(30) {
					qos := mqtt.QoS(id % 3)
					v, dup, id := mqtt.Version(3+id%3), qos > 0 && id%5 == 0, id*uint16(min(qos, 1))
					compare(&m, v, qos, id%2 == 0, dup, id, now)
					if former.Topic.String() != "" {
						compare(&former, v, qos, id%2 == 0, dup, id, now) // its forms are gone
					}
				}
			}
		}
		former = m
	}
}

func FuzzMessageParse(f *testing.F) {
	for _, m := range someMessages(f) {
		if b := m.Append(nil, 0); len(b) < 1000 {
			f.Add(b)
		}
	}
	f.Add([]byte("\x01\x1f\x00\x00\x00\x05\x80\x01\x07\x03a/b\x00\x02hi"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		rest, err := m.Parse(b, 0)
		if err != nil {
			return
		}
		if got := m.Append(nil, 0); !bytes.Equal(got, b[:len(b)-len(rest)]) {
			t.Fatalf("%q has a second form %q", b[:len(b)-len(rest)], got)
		}
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			var p mqtt.Publish
			m.publish(&p, m.QoS, m.Retain, 0)
			p.PacketID = 1
			p.Append(nil, v)
		}
	})
}
