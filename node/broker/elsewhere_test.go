package broker

import (
	"slices"
	"testing"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
)

// Who connects while clients are to go elsewhere is told so, in the words of each version, and
// where to if there is room for it; who is there stays, and who comes afterwards gets in.
func TestRefer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		b := c.nodes[0].b
		there := c.connect(0, 0, "there")
		b.Refer(&Elsewhere{mqtt.UseAnotherServer, "mqtt.example.com:8883"})
		hello := func(v mqtt.Version, p mqtt.Connect) *testConn {
			conn := c.dial(0, 0)
			conn.version, p.Version, p.CleanStart, p.ClientID = v, v, true, []byte("new")
			conn.send(&p)
			return conn
		}
		conn := hello(mqtt.V5, mqtt.Connect{})
		if ack := conn.one(mqtt.CONNACK).Connack; ack.Reason != mqtt.UseAnotherServer || string(ack.ServerReference) != "mqtt.example.com:8883" || !conn.closed {
			t.Errorf("5.0: %+v, closed %v", ack, conn.closed)
		}
		conn = hello(mqtt.V5, mqtt.Connect{MaximumPacketSize: 20})
		if ack := conn.one(mqtt.CONNACK).Connack; ack.Reason != mqtt.UseAnotherServer || ack.ServerReference != nil {
			t.Errorf("5.0 with small packets: %+v", ack)
		}
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
			conn = hello(v, mqtt.Connect{})
			if out := conn.out; !slices.Equal(out, []byte{0x20, 2, 0, 3}) || !conn.closed {
				t.Errorf("%v: %x, closed %v", v, out, conn.closed)
			}
		}
		if there.none(); there.closed || b.Connected() != 1 {
			t.Errorf("who was there: closed %v, %d connected", there.closed, b.Connected())
		}
		b.Refer(nil)
		c.connect(0, 0, "new")
		c.sleep(time.Second) // for the counters to be shown
		if s := b.Stats(); s.Referred != 4 || b.Connected() != 2 {
			t.Errorf("%d referred, %d connected", s.Referred, b.Connected())
		}
	})
}

// Clients that are sent away are told where to, have had their acknowledgements, and find their
// sessions; nobody else is touched. A will is published after its delay, and not at all if its
// client is back before.
func TestSendAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		b := c.nodes[0].b
		watcher := c.connect(0, 0, "watcher")
		watcher.subscribe("gone/#", 0)
		hello := func(loop int, v mqtt.Version, name string, delay uint32) *testConn {
			conn := c.dial(0, loop)
			conn.version = v
			conn.send(&mqtt.Connect{Version: v, ClientID: []byte(name), SessionExpiry: 100, HasWill: true,
				Will: mqtt.Will{Topic: []byte("gone/" + name), Payload: []byte(name), Delay: delay}})
			conn.one(mqtt.CONNACK)
			return conn
		}
		back, late, three := hello(0, mqtt.V5, "back", 60), hello(1, mqtt.V5, "late", 30), hello(1, mqtt.V311, "three", 0)
		back.subscribe("q", 1)
		var all []uint64
		ask := func(f func() error) {
			done := make(chan error, 1)
			go func() { done <- f() }()
			c.settle()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		ask(func() (err error) { all, err = b.Connections(t.Context()); return err })
		if len(all) != 4 {
			t.Fatalf("%d connections, want 4", len(all))
		}
		back.send(&mqtt.Publish{Topic: []byte("q"), Payload: []byte("m"), QoS: 1, PacketID: 7})
		back.recv()
		going := []uint64{uint64(back.id), uint64(late.id), uint64(three.id), 99 << 32} // and one that is gone
		ask(func() error {
			return b.SendAway(t.Context(), going, &Elsewhere{mqtt.ServerMoved, "there"})
		})
		for _, conn := range []*testConn{back, late} {
			if d := conn.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.ServerMoved || string(d.ServerReference) != "there" || !conn.closed {
				t.Errorf("%+v, closed %v", d, conn.closed)
			}
		}
		if three.none(); !three.closed {
			t.Error("the 3.1.1 client is there")
		}
		if b.Connected() != 1 || watcher.closed {
			t.Errorf("%d connected", b.Connected())
		}
		if got := payloads(watcher.recv()); !slices.Equal(got, []string{"three"}) {
			t.Errorf("wills without delay: %q", got)
		}
		c.sleep(10 * time.Second)
		conn := c.dial(0, 1)
		conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("back"), SessionExpiry: 100})
		if ps := conn.recv(); len(ps) != 2 || !ps[0].Connack.SessionPresent || string(ps[1].Publish.Payload) != "m" {
			t.Errorf("back again: %v", kinds(ps))
		}
		c.sleep(100 * time.Second)
		if got := payloads(watcher.recv()); !slices.Equal(got, []string{"late"}) {
			t.Errorf("wills with a delay: %q", got)
		}
		if s := b.Stats(); s.SentAway != 3 {
			t.Errorf("%d sent away", s.SentAway)
		}
	})
}

// All connections are listed once, however many, and those only that have their CONNACK.
func TestConnections(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		b := c.nodes[0].b
		var want []uint64
		for i := range slabChunk*(listedAtOnce+1) + 3 {
			conn := c.dial(0, i%2)
			if i%5 == 0 {
				continue
			}
			id := conn.loop.worker().conn(conn.id)
			id.client.connect = &handshake{connect: mqtt.Connect{Version: mqtt.V5}}
			id.version = mqtt.V5
			conn.loop.worker().connected(id, raftstore.Claimed{})
			want = append(want, uint64(conn.id))
		}
		var got []uint64
		done := make(chan error, 1)
		go func() {
			var err error
			got, err = b.Connections(t.Context())
			done <- err
		}()
		c.settle()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || b.Connected() != len(want) {
			t.Errorf("%d listed, %d connected, want %d", len(got), b.Connected(), len(want))
		}
	})
}
