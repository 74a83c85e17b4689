package shardnet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"dunlin/cluster/raftnet"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

func topic(t testing.TB, s string) router.Topic {
	t.Helper()
	parsed, err := router.ParseTopic([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// some are deliveries of each kind.
func some(t testing.TB) []raftstore.Delivery {
	m := session.Message{Topic: topic(t, "a/b"), Payload: []byte("payload"), QoS: 2, Origin: 1 << 40, Seq: 9, Low: 4}
	expiring := session.Message{Topic: topic(t, "c"), QoS: 1, Retain: true, HasExpiry: true, Expiry: 60, Received: 5e9}
	return []raftstore.Delivery{
		{Index: 1, Message: m, QoS: 2},
		{Index: 1 << 50, Message: m, QoS: 1, Retain: true, IDs: []uint32{1, 1<<28 - 1}},
		{Message: expiring, IDs: []uint32{7}},
	}
}

func records(t testing.TB) map[string][]byte {
	deliver := appendHead(nil, verbDeliver, 1<<63, 1<<41)
	for _, d := range some(t) {
		deliver = appendDelivery(deliver, &d, 15e9)
	}
	return map[string][]byte{
		"deliver": deliver,
		"evict":   append(appendHead(nil, verbEvict, 3, 4), 5, 'i', 'd'),
		"ended":   append(appendHead(nil, verbEnded, 3, 4), byte(mqtt.SessionTakenOver)),
	}
}

func TestRecordsReadAsWritten(t *testing.T) {
	rs := records(t)
	var ds deliveries
	rec, err := readRecord(rs["deliver"], 100e9, &ds)
	want := some(t)
	for i := range want {
		m := &want[i].Message
		if m.HasExpiry {
			m.Expiry -= 10 // T3: it lay here for ten seconds
		}
		m.Received = 100e9
	}
	if err != nil || rec.conn != 1<<63 || rec.epoch != 1<<41 || len(ds.each) != len(want) {
		t.Fatalf("%+v, %v, %d deliveries", rec, err, len(ds.each))
	}
	for i, d := range ds.each {
		w := want[i]
		if d.Index != w.Index || d.QoS != w.QoS || d.Retain != w.Retain || !reflect.DeepEqual(d.IDs, w.IDs) ||
			!bytes.Equal(d.Message.Append(nil, 100e9), w.Message.Append(nil, 100e9)) {
			t.Errorf("delivery %d is %+v, not %+v", i, d, w)
		}
		if size, got := sizeDelivery(&w), len(appendDelivery(nil, &w, 0)); got > size {
			t.Errorf("delivery %d takes %d bytes, more than %d", i, got, size)
		}
	}
	if rec, err = readRecord(rs["evict"], 0, &ds); err != nil || rec.number != 5 || string(rec.clientID) != "id" || rec.conn != 3 {
		t.Errorf("evict: %+v, %v", rec, err)
	}
	if rec, err = readRecord(rs["ended"], 0, &ds); err != nil || rec.reason != mqtt.SessionTakenOver || rec.epoch != 4 {
		t.Errorf("ended: %+v, %v", rec, err)
	}
}

func TestBadRecordsAreMalformed(t *testing.T) {
	bad := map[string][]byte{}
	for name, b := range records(t) {
		bad[name+" of an unknown version"] = append([]byte{9}, b[1:]...)
		bad[name+" with an unknown verb"] = append([]byte{recordVersion, 99}, b[2:]...)
		bad[name+" without an epoch"] = b[:10]
	}
	ended := records(t)["ended"]
	bad["a byte too many"] = append(bytes.Clone(ended), 0)
	bad["a byte too few"] = ended[:len(ended)-1]
	head := appendHead(nil, verbDeliver, 1, 1)
	message := some(t)[0].Message.Append(nil, 0)
	for name, front := range map[string][]byte{
		"QoS 3":               {3, 1},
		"unknown flag":        {0x11, 1},
		"no index":            {1, 0},
		"no identifiers":      {deliverIDs, 0},
		"too many of them":    {deliverIDs, 255, 255, 255, 255, 15},
		"one above its range": {deliverIDs, 1, 255, 255, 255, 255, 255, 1},
	} {
		bad[name] = append(append(bytes.Clone(head), front...), message...)
	}
	bad["message cut"] = append(append(bytes.Clone(head), 0), message[:len(message)-1]...)
	for name, b := range bad {
		if _, err := readRecord(b, 0, new(deliveries)); !errors.Is(err, raftnet.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	answer, leader, err := cutAnswer(appendAnswer([]byte("results"), 1<<31))
	if err != nil || leader != 1<<31 || string(answer) != "results" {
		t.Errorf("%q, %d, %v", answer, leader, err)
	}
	for _, b := range []string{"", "1234", "12345"} {
		if _, _, err := cutAnswer([]byte(b)); err == nil {
			t.Errorf("%q is an answer", b)
		}
	}
}

// FuzzRecord reads whatever a peer may send: an error at worst, memory in
// proportion, and what is read packs to what reads the same.
func FuzzRecord(f *testing.F) {
	for _, b := range records(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ds deliveries
		rec, err := readRecord(b, 0, &ds)
		if cap(ds.each) > 4*len(b)+16 || cap(ds.ids) > 4*len(b)+16 {
			t.Errorf("%d deliveries and %d identifiers of %d bytes", cap(ds.each), cap(ds.ids), len(b))
		}
		if err != nil || rec.verb != verbDeliver {
			return
		}
		packed := appendHead(nil, verbDeliver, rec.conn, rec.epoch)
		for i := range ds.each {
			packed = appendDelivery(packed, &ds.each[i], 0)
		}
		var again deliveries
		got, err := readRecord(packed, 0, &again)
		if err != nil || got.conn != rec.conn || got.epoch != rec.epoch || !reflect.DeepEqual(again.each, ds.each) {
			t.Errorf("%+v reads as %+v, %v", ds.each, again.each, err)
		}
		if _, _, err := cutAnswer(b); err == nil && len(b) < 5 {
			t.Error("an answer too short")
		}
	})
}
