package cases

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// flood: who sends more than he may is read from more slowly, and all that he has sent comes; who goes on
// is told so and closed.
func flood(t *testing.T, p *place) { // case 57
	const many = 1200 // of which a third may come at once
	before := p.pub.node.Metrics()["dunlin_traffic_limited_total"]
	sub, pub := p.sub.ephemeral(t, "rate-sub"), p.pub.ephemeral(t, "rate-pub")
	sub.Subscribe("rate", 0)
	var b []byte
	for k := range many {
		b = (&mqtt.Publish{Topic: []byte("rate"), Payload: fmt.Append(nil, k)}).Append(b, mqtt.V5)
	}
	pub.SendBytes(b)
	for k := range many {
		if m := sub.Receive(); string(m.Payload) != fmt.Sprint(k) {
			t.Fatalf("message %d is %q", k, m.Payload)
		}
	}
	pub.ExpectQuiet()
	if now := p.pub.node.Metrics()["dunlin_traffic_limited_total"]; now <= before {
		t.Error("nobody was held back")
	}

	old := p.pub.connect(t, mqtt.Connect{Version: mqtt.V311, CleanStart: true})
	clients, over := []*harness.Client{old, pub}, make([]bool, 2)
	for end := time.Now().Add(2 * patience); slices.Contains(over, false); {
		if time.Now().After(end) {
			t.Fatal("who never stops is not told to")
		}
		for k, c := range clients {
			if over[k] {
				continue
			}
			c.SendBytes(bytesOf(60, (&mqtt.Publish{Topic: []byte("flood")}).Append(nil, c.Version)))
			p, err := c.Poll(50 * time.Millisecond)
			switch {
			case errors.Is(err, io.EOF) && c == old:
				over[k] = true
			case err == nil && p.Kind == mqtt.DISCONNECT && p.Disconnect.Reason == mqtt.MessageRateTooHigh && c == pub:
				c.ExpectClosed()
				over[k] = true
			case err == nil:
				t.Fatalf("got %s", harness.Describe(p))
			case errors.Is(err, io.EOF):
				t.Fatal("closed without a DISCONNECT")
			}
		}
	}
}

// noMemory: see full.
func noMemory(t *testing.T, p *place) { // case 56
	kept := 0
	full(t, p, "memory", func(pub *harness.Client) {
		for payload := strings.Repeat("x", 512<<10); retain(pub, fmt.Sprint("r/", kept), payload) != mqtt.QuotaExceeded; kept++ {
			if kept == 1000 {
				t.Fatal("500 MB are retained")
			}
		}
	}, func(pub *harness.Client) {
		for k := range kept {
			if r := retain(pub, fmt.Sprint("r/", k), ""); r >= mqtt.Unspecified {
				t.Fatalf("deletion %d: %v", k, r)
			}
		}
	})
}

// noDisk: see full.
func noDisk(t *testing.T, p *place) { // case 56
	dir := p.pub.node.Files()
	filler := filepath.Join(dir, "filler")
	full(t, p, "disk", func(pub *harness.Client) {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		// A segment of the log has room in what is left.
		free := int(s.Bavail) * int(s.Bsize)
		if err := os.WriteFile(filler, make([]byte, free-scarceDisk/20+2<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "nothing is retained", func() error {
			if r := retain(pub, "r/0", "x"); r != mqtt.QuotaExceeded {
				return errors.New(r.String())
			}
			return nil
		})
	}, func(*harness.Client) {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	})
}

// full: a node over its mark for memory or disk stores nothing more, and says so early; who
// is connected goes on with everything else, and when there is room again, with that too.
// fill and empty have it get there, and leave.
func full(t *testing.T, p *place, of string, fill, empty func(pub *harness.Client)) {
	t.Helper()
	n := p.sub.node
	crossings := n.Metrics()["dunlin_high_water_crossings_total"]
	pub, sub := p.pub.ephemeral(t, of+"-pub"), p.sub.ephemeral(t, of+"-sub")
	old := p.pub.connect(t, mqtt.Connect{Version: mqtt.V311, CleanStart: true})
	sub.Subscribe("live", 1)
	fill(pub)
	for version, want := range map[mqtt.Version]mqtt.Reason{mqtt.V311: mqtt.ServerUnavailable, mqtt.V5: mqtt.ServerBusy} {
		// Within TLS nobody is told, as a handshake would have to come before that. Elsewhere few
		// are at a time, which those who came before may be still.
		harness.Eventually(t, "who comes is told that there is no room", func() error {
			if _, why, closed := p.again.attempt(t, mqtt.Connect{Version: version}); closed != p.via.isTLS() || !closed && why != want {
				return fmt.Errorf("version %v: CONNACK %v, closed %v", version, why, closed)
			}
			return nil
		})
	}
	if r := ask(sub, "more"); r != mqtt.QuotaExceeded {
		t.Errorf("SUBACK %v", r)
	}
	pub.Publish("live", "goes on", 1)
	sub.ExpectMessage("live", "goes on")
	old.Send(&mqtt.Publish{Topic: []byte("r/old"), Payload: []byte("x"), QoS: 1, PacketID: 1, Retain: true})
	old.ExpectClosed() // it cannot be told, and is to send it again
	harness.Eventually(t, "one crossing is counted", func() error {
		if c := n.Metrics()["dunlin_high_water_crossings_total"] - crossings; c != 1 {
			return fmt.Errorf("%v are", c)
		}
		return nil
	})
	lines := 0
	for line := range strings.Lines(p.log()) {
		if strings.Contains(line, "over the high-water mark") && strings.Contains(line, "of="+of) {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d lines of it in the log", lines)
	}
	empty(pub)
	harness.Eventually(t, "there is room again", func() error {
		n.Held() // collects
		if r := retain(pub, "r/0", "x"); r >= mqtt.Unspecified {
			return errors.New(r.String())
		}
		return nil
	})
	retain(pub, "r/0", "")
}
