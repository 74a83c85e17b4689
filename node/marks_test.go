package node

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"dunlin/node/config"
	"dunlin/node/limit"
	"dunlin/proto/mqtt"
)

// connect sends CONNECT and returns the answer's reason.
func (d *device) connect(id string) mqtt.Reason {
	d.t.Helper()
	d.send(&mqtt.Connect{Version: d.version, CleanStart: true, ClientID: []byte(id), ReceiveMaximum: 100, RequestProblemInfo: true})
	return d.next(mqtt.CONNACK).Connack.Reason
}

// Case 56: a node over the mark of memory or disk refuses clients who come, first of all:
// with 0x89, or code 3 in 3.1.1, also those whose connection is there already. Whoever is
// in stays and is served. It lets in again below the low mark, and not between the two.
func TestClientsWhoComeAreShedFirst(t *testing.T) {
	var used [2]atomic.Int64 // what the marks read
	n, addr := runNodeWith(t, func(*config.Config) {}, func(n *Node) {
		for i, m := range []*limit.Mark{&n.marks.memory, &n.marks.disk} {
			m.Read = func() (limit.Reading, error) { return limit.Reading{Used: used[i].Load(), High: 100, Back: 90}, nil }
		}
	}, io.Discard)
	awaiting := func(what string, is func() bool) {
		t.Helper()
		eventually(t, func() error {
			if !is() {
				return errors.New(what + " does not come about")
			}
			return nil
		})
	}
	resident := openDevice(t, addr, mqtt.V5)
	if r := resident.connect("resident"); r != mqtt.Success {
		t.Fatal(r)
	}
	if r := resident.subscribe("t"); r != mqtt.GrantedQoS1 {
		t.Fatal(r)
	}
	id := uint16(0)
	served := func(when string) {
		t.Helper()
		id++
		resident.send(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: id})
		acknowledged, came := false, false
		for range 2 {
			switch p, err := resident.read(); {
			case err != nil:
				t.Fatalf("%s: who is in: %v", when, err)
			case p.Kind == mqtt.PUBLISH:
				came = true
				resident.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
			case p.Kind == mqtt.PUBACK:
				acknowledged = p.Ack.Reason == mqtt.Success
			}
		}
		if !acknowledged || !came {
			t.Errorf("%s: who is in: acknowledged %v, delivered %v", when, acknowledged, came)
		}
	}
	refused := func(when string, early *device) {
		t.Helper()
		for name, d := range map[string]*device{"5": openDevice(t, addr, mqtt.V5), "3.1.1": openDevice(t, addr, mqtt.V311), "early": early} {
			want := mqtt.ServerBusy
			if d.version == mqtt.V311 {
				want = mqtt.ServerUnavailable // code 3
			}
			if r := d.connect(name); r != want || !d.isClosed() {
				t.Errorf("%s: %s: CONNACK %v, or not closed", when, name, r)
			}
		}
	}
	for i, m := range []*limit.Mark{&n.marks.memory, &n.marks.disk} {
		of := m.Cause.String()
		short := func() bool { return n.pressure.Of(m.Cause) != limit.None }
		early, before := openDevice(t, addr, mqtt.V5), openDevice(t, addr, mqtt.V5)
		awaiting("who is there before", func() bool { return n.doorman.Stats().Connections == 3 })
		used[i].Store(100)
		awaiting(of+" over its mark", short)
		refused(of+" over its mark", early)
		served(of + " over its mark")
		used[i].Store(95)
		awaiting(of+" between the marks", func() bool { now, _, _ := m.Stats(); return now == 95 })
		refused(of+" between the marks", before)
		served(of + " between the marks")
		used[i].Store(89)
		awaiting(of+" below its marks", func() bool { return !short() })
		for _, version := range []mqtt.Version{mqtt.V5, mqtt.V311} {
			d := openDevice(t, addr, version)
			if r := d.connect("late"); r != mqtt.Success {
				t.Errorf("%s below its marks: CONNACK %v", of, r)
			}
			if d.send(&mqtt.Disconnect{}); !d.isClosed() {
				t.Errorf("%s below its marks: not closed", of)
			}
		}
		if _, _, crossings := m.Stats(); crossings != 1 {
			t.Errorf("%s: %d crossings", of, crossings)
		}
		awaiting("that all have gone", func() bool { return n.doorman.Stats().Connections == 1 })
	}
}

// Case 34: of a user's sessions each shard lets in so many that nobody who keeps to his
// limit is refused, but for one in a million or so; and docs/limits.md says what that comes to.
func TestUserPart(t *testing.T) {
	for _, c := range []struct{ whole, shards, part int }{
		{0, 16, 0}, {1, 16, 1}, {5, 16, 5}, {10, 16, 7}, {100, 16, 21}, {1000, 16, 105}, {10_000, 16, 752}, {100, 1, 100}, {1000, 64, 38},
	} {
		if got := userPart(c.whole, c.shards); got != c.part {
			t.Errorf("%d in %d shards: %d in each, want %d", c.whole, c.shards, got, c.part)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, whole := range []int{1, 3, 10, 30, 100, 1000} {
		for range 20_000 / whole * 10 {
			var has [16]int
			for range whole {
				s := random.IntN(16)
				if has[s]++; has[s] > userPart(whole, 16) {
					t.Fatalf("one who has %d of %d is refused one", has, whole)
				}
			}
		}
	}
}
