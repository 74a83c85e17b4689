//go:build linux

package floor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// start runs a relay until the test ends.
func start(t *testing.T, topology Topology) string {
	t.Helper()
	r, err := Listen("127.0.0.1:0", topology)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	return r.Addr().String()
}

// client is one end of a connection to the relay, in bytes.
type client struct {
	t testing.TB
	*net.TCPConn
}

func dial(t testing.TB, addr, id string, level byte) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	c := &client{t, conn.(*net.TCPConn)}
	body := []byte{0, 4, 'M', 'Q', 'T', 'T', level, 2, 0, 60}
	connack := []byte{0x20, 2, 0, 0}
	if level == 5 {
		body = append(body, 3, 0x21, 0, 20) // Receive Maximum
		connack = []byte{0x20, 3, 0, 0, 0}
	}
	body = append(append(body, 0, byte(len(id))), id...)
	c.say(append([]byte{0x10, byte(len(body))}, body...))
	c.hear(connack)
	return c
}

func (c *client) say(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hear(want []byte) {
	c.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("% x, %v; want % x", got, err, want)
	}
}

func (c *client) subscribe() {
	c.t.Helper()
	c.say([]byte{0x82, 6, 0, 1, 0, 1, 't', 1})
	c.hear([]byte{0x90, 3, 0, 1, 1})
}

func message(qos byte, id uint16, payload string) []byte {
	b := []byte{0x30 | qos<<1, 0, 0, 1, 't'}
	if qos > 0 {
		b = append(b, byte(id>>8), byte(id))
	}
	b = append(b, payload...)
	b[1] = byte(len(b) - 2)
	return b
}

func TestPairs(t *testing.T) {
	addr := start(t, Pairs)
	sub1, sub2 := dial(t, addr, "sub-1", 4), dial(t, addr, "sub-2", 4)
	sub1.subscribe()
	sub2.subscribe()
	pub1, pub2 := dial(t, addr, "pub-1", 4), dial(t, addr, "pub-2", 4)
	pub1.say(message(0, 0, "one"))
	pub2.say(append(message(0, 0, "two"), message(0, 0, "three")...))
	sub1.hear(message(0, 0, "one"))
	sub2.hear(message(0, 0, "two"))
	sub2.hear(message(0, 0, "three"))
}

func TestEvery(t *testing.T) {
	addr := start(t, Every)
	var subs [10]*client
	for i := range subs {
		subs[i] = dial(t, addr, fmt.Sprint("sub-", i), 4)
		subs[i].subscribe()
	}
	for i := range 10 {
		m := message(0, 0, fmt.Sprint("hello from ", i))
		dial(t, addr, fmt.Sprint("pub-", i), 4).say(m)
		for _, s := range subs {
			s.hear(m)
		}
	}
}

func TestShare(t *testing.T) {
	addr := start(t, Share)
	subs := []*client{dial(t, addr, "sub-0", 4), dial(t, addr, "sub-1", 4)}
	for _, s := range subs {
		s.subscribe()
	}
	pub := dial(t, addr, "pub-0", 4)
	for i := range 10 {
		m := message(0, 0, fmt.Sprint(i))
		pub.say(m)
		subs[(i+1)%2].hear(m)
	}
}

// The packets of QoS 1 and 2, each side answered by itself.
func TestAcknowledgements(t *testing.T) {
	addr := start(t, Pairs)
	sub := dial(t, addr, "sub-x", 4)
	sub.subscribe()
	pub := dial(t, addr, "pub-x", 4)

	pub.say(message(1, 7, "m"))
	pub.hear([]byte{0x40, 2, 0, 7})
	sub.hear(message(1, 7, "m"))
	sub.say([]byte{0x40, 2, 0, 7})

	pub.say(message(2, 8, "m"))
	pub.hear([]byte{0x50, 2, 0, 8})
	pub.say([]byte{0x62, 2, 0, 8})
	pub.hear([]byte{0x70, 2, 0, 8})
	sub.hear(message(2, 8, "m"))
	sub.say([]byte{0x50, 2, 0, 8})
	sub.hear([]byte{0x62, 2, 0, 8})
	sub.say([]byte{0x70, 2, 0, 8})

	sub.say([]byte{0xC0, 0})
	sub.hear([]byte{0xD0, 0})
}

// MQTT 5, and packets cut at every byte.
func TestVersion5InPieces(t *testing.T) {
	addr := start(t, Pairs)
	sub := dial(t, addr, "sub-5", 5)
	sub.say([]byte{0x82, 13, 0, 9, 0, 0, 2, 't', '1', 1, 0, 2, 't', '2', 2})
	sub.hear([]byte{0x90, 5, 0, 9, 0, 1, 2})
	sub.say([]byte{0xA2, 6, 0, 10, 0, 0, 1, 't'})
	sub.hear([]byte{0xB0, 4, 0, 10, 0, 0})
	pub := dial(t, addr, "pub-5", 5)
	m := append([]byte{0x32, 9, 0, 1, 't', 0, 3, 0}, "abc"...)
	for _, c := range m {
		pub.say([]byte{c})
	}
	pub.hear([]byte{0x40, 2, 0, 3})
	sub.hear(m)
}

// What is not MQTT ends the connection.
func TestNonsense(t *testing.T) {
	addr := start(t, Pairs)
	for _, b := range []string{"\x30\xff\xff\xff\xff\xff", "\x10\x02\x00\x09", "\x82\x02\x00\x01", "\x32\x01\x00"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = conn.Write([]byte(b))
		if n, _ := io.Copy(io.Discard, conn); n != 0 {
			t.Errorf("%x: %d bytes answered", b, n)
		}
		conn.Close()
	}
}

// A subscriber that does not read stops its publisher, and loses nothing.
func TestSlowSubscriber(t *testing.T) {
	addr := start(t, Pairs)
	sub := dial(t, addr, "sub-s", 4)
	sub.subscribe()
	pub := dial(t, addr, "pub-s", 4)
	m := bytes.Repeat(message(0, 0, "slow"), 10_000)
	pub.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	sent := 0
	for {
		n, err := pub.Write(m)
		if sent += n; err != nil {
			break
		}
	}
	pub.CloseWrite()
	for left := sent - sent%len(message(0, 0, "slow")); left > 0; {
		n := min(left, len(m))
		sub.hear(m[:n])
		left -= n
	}
}

// The relay's CPU time per message, whole process, as the load tester measures any
// broker: messages of 128 bytes, 32 a write, publishers to subscribers. A publisher
// has two writes under way at most: how full the sockets are decides how much a read
// brings.
func BenchmarkFloor(b *testing.B) {
	if addr := os.Getenv("DUNLIN_TEST_FLOOR"); addr != "" {
		topology, err := ParseTopology(os.Getenv("DUNLIN_TEST_TOPOLOGY"))
		if err != nil {
			b.Fatal(err)
		}
		r, err := Listen("127.0.0.1:0", topology)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(addr, []byte(r.Addr().String()), 0o600); err != nil {
			b.Fatal(err)
		}
		_ = r.Run(context.Background())
		return
	}
	for _, c := range []struct {
		name       string
		topology   Topology
		pubs, subs int
	}{
		{"fan-in/50-1", Every, 50, 1},
		{"fan-out/1-100", Every, 1, 100},
		{"pairs/50", Pairs, 50, 50},
	} {
		b.Run(c.name, func(b *testing.B) { benchFloor(b, c.topology, c.pubs, c.subs) })
	}
}

func benchFloor(b *testing.B, topology Topology, pubs, subs int) {
	cmd, addr := child(b, topology)
	m := message(0, 0, string(make([]byte, 123)))
	block := bytes.Repeat(m, 32)
	each := (b.N + pubs*32 - 1) / (pubs * 32) // writes a publisher
	perSub := each * len(block)
	if topology == Every {
		perSub *= pubs
	}
	room := make([]chan struct{}, pubs) // for writes under way
	for i := range room {
		room[i] = make(chan struct{}, 2)
	}
	done := make(chan struct{})
	for i := range subs {
		s := dial(b, addr, fmt.Sprint("sub-", i), 4)
		s.SetDeadline(time.Time{})
		s.subscribe()
		go func() {
			buf := make([]byte, 256<<10)
			for left := perSub; left > 0; {
				n, err := s.Read(buf[:min(left, len(buf))])
				if err != nil {
					b.Error(err)
					break
				}
				whole := left / len(block)
				left -= n
				if i >= pubs {
					continue // of many subscribers the first is waited for
				}
				for k := range whole - left/len(block) {
					from := i // of pairs
					if topology == Every {
						from = (left/len(block) + k) % pubs
					}
					<-room[from]
				}
			}
			done <- struct{}{}
		}()
	}
	for i := range pubs {
		p := dial(b, addr, fmt.Sprint("pub-", i), 4)
		p.SetDeadline(time.Time{})
		go func() {
			for range each {
				room[i] <- struct{}{}
				if _, err := p.Write(block); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	for range subs {
		<-done
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	b.ReportMetric(float64(u.Utime.Nano()+u.Stime.Nano())/float64(subs*perSub/len(m)), "cpu-ns/delivered")
}

// child runs a relay in a process of its own.
func child(b *testing.B, topology Topology) (*exec.Cmd, string) {
	file := b.TempDir() + "/addr"
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkFloor$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "DUNLIN_TEST_FLOOR="+file, "DUNLIN_TEST_TOPOLOGY="+topology.String())
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // polls
		if addr, _ := os.ReadFile(file); len(addr) > 0 {
			return cmd, string(addr)
		}
		if time.Now().After(deadline) {
			b.Fatal("the relay did not start")
		}
	}
}
