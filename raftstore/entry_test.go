package raftstore

import (
	"encoding/hex"
	"strings"
	"testing"

	"dunlin/router"
	"dunlin/session"
)

func TestUnknownCommandStops(t *testing.T) {
	for name, entry := range map[string][]byte{
		"unknown kind": appendCommand(appendEntryHead(nil, entryHead{time: 5}), kindForget+1, nil),
		"transient":    appendCommand(appendEntryHead(nil, entryHead{time: 5}), kindTransient, nil),
		"no kind":      appendCommand(appendEntryHead(nil, entryHead{time: 5}), 0, nil),
		"cut command":  appendCommand(appendEntryHead(nil, entryHead{time: 5}), kindClaim, []byte{200}),
		"version":      {entryVersion + 1, 5},
		"empty":        {},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r, _ := recover().(string); !strings.HasPrefix(r, "raftstore:") {
					t.Errorf("recovered %q", r)
				}
			}()
			newState(0).apply(entry, nil)
			t.Error("applied")
		})
	}
}

// firstRelease is an entry with a command of each kind, and more.
const firstRelease = "01ac029003f403d804010701020304050607021801630175000000000009073c14010203080101017700017803050163020303040a0163020103612f232e0405080163020103612f2306120170011e0000000705040103612f62000170071701630201010104011e0000000705040103612f62000170080c000163020d010e000164020e0905016302ac020a05016302ac020b10011e0000000705040103612f620001700c0201630d01050e01060f0207080719016302050000012309011e0000000705040103612f62000170110a0163020123000109ac020807020163020c030e12130a2473686172652f672f610163030403000a04131b0a2473686172652f672f61011e0000000705040103612f620001701417030204010a2473686172652f672f6101630005050600001424030205020a2473686172652f672f610163070204011e0000000705040103612f620001701422030206030a2473686172652f672f61016307011e0000000705040103612f620001701412030207040a2473686172652f672f6101630815020304100402030405"

// Entries outlive releases: this one was written by the first.
func TestEntryOfTheFirstRelease(t *testing.T) {
	m := session.Message{
		Topic: topic("a/b"), Payload: []byte("p"), QoS: 2, Retain: true, HasExpiry: true, Expiry: 7, Origin: 5, Seq: 4, Low: 3,
	}
	now := func() session.Time { return 0 }
	b := appendEntryHead(nil, entryHead{300, 400, 500, 600})
	for _, c := range []Command{
		Limits{1, 2, 3, 4, 5, 6, 7},
		Claim{ClientID: "c", User: "u", Conn: 9, CleanStart: true, Expiry: 60, Inflight: 20, Will: &Will{publish("w", "x", 1), 8}, MaxQueueMessages: 1, MaxQueueBytes: 2, InflightBytes: 3, DropOldest: true},
		Detach{ClientID: "c", Epoch: 2, Fire: true, HasExpiry: true, Expiry: 3},
		Subscribe{ClientID: "c", Epoch: 2, Filters: []Subscription{{Filter: filter("a/#"), Options: router.Options{QoS: 2, NoLocal: true, RetainAsPublished: true, ID: 4}, RetainHandling: 2}}},
		Unsubscribe{ClientID: "c", Epoch: 2, Filters: []router.Filter{filter("a/#")}},
		Enqueue{From: "p", Message: m},
		EnqueueFor{ClientID: "c", Epoch: 2, Delivery: Delivery{Message: m, QoS: 1, Retain: true, IDs: []uint32{4}}},
		Acks{Items: []Ack{{"c", 2, 6, true, false}, {"c", 2, 7, false, false}, {"d", 2, 7, false, false}}},
		Receive{"c", 2, 300},
		Release{"c", 2, 300},
		Retain{m},
		Delete{"c"},
		forget{5},
		published{6},
		lost{7, 8},
		EnqueueFor{ClientID: "c", Epoch: 2, Delivery: Delivery{Message: m, QoS: 1}, Replay: filter("#"), Shard: 9},
		Replaying{ClientID: "c", Epoch: 2, Filter: filter("#"), Cuts: []session.Cut{{Shard: 9, Index: 300}}},
		Acks{Items: []Ack{{"c", 2, 6, false, true}, {"c", 2, 7, false, true}}},
		Member{Group: filter("$share/g/a"), ClientID: "c", Shard: 3, AsOf: 4, Stored: true, Options: router.Options{QoS: 2, RetainAsPublished: true, ID: 4}},
		Share{Group: filter("$share/g/a"), Message: m},
		posted{from: 3, low: 2, letter: &letter{number: 4, kind: letterMember, group: filter("$share/g/a"), clientID: "c", news: news{asOf: 5, subscribed: true, attached: true, room: 6}}},
		posted{from: 3, low: 2, letter: &letter{number: 5, kind: letterGive, group: filter("$share/g/a"), clientID: "c", count: 7, options: router.Options{QoS: 2, ID: 4}}, message: m},
		posted{from: 3, low: 2, letter: &letter{number: 6, kind: letterBack, group: filter("$share/g/a"), clientID: "c", count: 7}, message: m},
		posted{from: 3, low: 2, letter: &letter{number: 7, kind: letterDone, group: filter("$share/g/a"), clientID: "c", count: 8}},
		delivered{3, 4},
	} {
		k, body := c.encode(nil, now)
		b = appendCommand(b, k, body)
	}
	s := source{node: 2, start: 3, low: 4}
	b = appendCommand(b, kindFrom, s.encode(nil, 5))
	if got := hex.EncodeToString(b); got != firstRelease {
		t.Errorf("an entry of version %d is now written\n%s", entryVersion, got)
	}
}

func TestShardTimeMovesForwardOnly(t *testing.T) {
	st := newState(0)
	for _, c := range []struct{ entry, want session.Time }{{5, 5}, {3, 5}, {9, 9}} {
		st.apply(appendEntryHead(nil, entryHead{time: c.entry}), nil)
		expect(t, "time", st.now, c.want)
	}
}
