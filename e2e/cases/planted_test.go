package cases

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dunlin/proto/mqtt"
)

// Every case of section 5 is in the table, once, in order, and on some way.
func TestTableIsWhole(t *testing.T) {
	for k, r := range table {
		if r.number != k+1 {
			t.Fatalf("after case %d comes %d", k, r.number)
		}
		if len(r.ways) == 0 || r.on == nil || r.test == nil || r.words == "" {
			t.Errorf("case %d is no test", r.number)
		}
	}
	if len(table) != 60 {
		t.Errorf("%d cases, not 60", len(table))
	}
	for _, c := range badInputs {
		if c.number < 1 || c.number > len(table) {
			t.Errorf("input %q is of case %d", c.name, c.number)
		}
	}
}

// What a case must not leave or do is found: each of these was planted.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	ss := newSites(t)
	for name, c := range map[string]struct {
		plant func(*testing.T, *place)
		says  string
	}{
		"connections left open": {func(t *testing.T, p *place) {
			for k := range 50 {
				p.sub.ephemeral(t, fmt.Sprint("left-", k))
			}
		}, "descriptors"},
		"a session left": {func(t *testing.T, p *place) {
			p.sub.connect(t, mqtt.Connect{ClientID: []byte("left"), SessionExpiry: 100}).Disconnect()
		}, "dunlin_store_sessions"},
		"a message left": {func(t *testing.T, p *place) {
			retain(p.sub.ephemeral(t, "left"), "left", "x")
		}, "dunlin_store_retained_messages"},
		"heap left": {func(t *testing.T, p *place) {
			sub := p.sub.connect(t, mqtt.Connect{ClientID: []byte("left"), SessionExpiry: 100})
			sub.Subscribe("left", 1)
			sub.Disconnect()
			pub := p.sub.ephemeral(t, "left-pub")
			for range 40 {
				pub.Publish("left", strings.Repeat("x", 500_000), 1)
			}
		}, "heap"},
	} {
		t.Run(name, func(t *testing.T) {
			s := ss.at(t, &ground{name: name, config: plain.config}, tcp)
			if err := s.settled(patience); err != nil {
				t.Fatalf("before it: %v", err)
			}
			c.plant(t, s.place())
			if err := s.settled(300 * time.Millisecond); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("found: %v", err)
			}
		})
	}
	for name, c := range map[string]struct {
		plant func(*testing.T, *place)
		says  string
	}{
		"a node that ends": {func(_ *testing.T, p *place) { p.nodes[0].Kill() }, "EOF"},
		"a connection that ends": {func(t *testing.T, p *place) {
			p.sub.ephemeral(t, "bystander-pub")
		}, "DISCONNECT"},
		"a message that is another's": {func(t *testing.T, p *place) {
			p.pub.ephemeral(t, "other").Publish("bystander", "x", 1)
		}, `"x"`},
		"a message that is lost": {func(_ *testing.T, p *place) {
			// It has the bystander unsubscribe, whose next message then does not come.
			p.by.sub.SendBytes((&mqtt.Unsubscribe{PacketID: 60_000, Filters: [][]byte{[]byte("bystander")}}).Append(nil, mqtt.V5))
		}, "instead of"},
		"a node that stalls": {func(t *testing.T, p *place) {
			p.nodes[0].Pause()
			time.Sleep(stall + time.Second)
			p.nodes[0].Resume()
		}, ""}, // a message took long, or the node, having missed its lease, has closed who waited
	} {
		t.Run(name, func(t *testing.T) {
			s := ss.at(t, &ground{name: name, config: plain.config}, tcp)
			end := s.by.begin()
			c.plant(t, s.place())
			if err := end(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("found: %v", err)
			}
		})
	}
}
