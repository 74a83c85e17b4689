package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// What clients that misbehave may do to the 99th percentile of others' latencies: by
// how much they may raise it, and 10,000 that connect at once by how much more than
// they do on a server that accepts and answers and does nothing else.
const (
	nuisanceTimes = 2
	stormTimes    = 1.5
	stormSize     = 10_000
)

// BenchmarkNuisance measures what 5,000 messages a second of others wait for in all this,
// in rounds with and without that take turns, and whether the memory is as before.
func BenchmarkNuisance(b *testing.B) {
	rounds, interval, storm := 9, 2*time.Second, stormSize
	if *quick {
		rounds, interval, storm = 1, 300*time.Millisecond, 200
	}
	node := harness.Start(b, harness.Options{WS: true}).Nodes[0]
	ours := server{publish: node.MQTT, subscribe: node.MQTT, pids: []int{node.Pid()}}
	bare := floor(b, "pairs")
	run(b, "rate-1", ours, interval)
	base := node.Held()

	var out bytes.Buffer
	table, row := others(&out)
	for _, x := range []struct {
		name string
		do   func(stop <-chan struct{})
	}{
		{"a client that never reads", func(stop <-chan struct{}) { neverRead(b, node, stop) }},
		{"one that sends a byte a second", func(stop <-chan struct{}) { dribble(b, node, stop) }},
		{"a WebSocket of one-byte frames", func(stop <-chan struct{}) { crumbs(b, node, stop) }},
	} {
		p99 := besides(b, rounds, interval, trial{ours, x.do})[0]
		row(x.name, p99, nuisanceTimes)
	}
	p99 := besides(b, rounds, interval,
		trial{bare, func(stop <-chan struct{}) { storms(b, bare.publish, storm, stop) }},
		trial{ours, func(stop <-chan struct{}) { storms(b, node.MQTT, storm, stop) }})
	name := fmt.Sprintf("%d that connect at once", storm)
	fmt.Fprintf(table, "%s: bare server\t%.0f\t%.0f\t%.2f\t-\t-\t\n", name, p99[0].quiet, p99[0].beside, p99[0].times())
	row(name, p99[1], stormTimes*p99[0].times())
	table.Flush()
	calm()
	end := node.Held()
	fmt.Fprintf(os.Stdout, "\n%s\nmemory in use before %.1f MB, after %.1f MB; goroutines %d and %d; descriptors %d and %d\n",
		out.String(), float64(base.Heap)/1e6, float64(end.Heap)/1e6, base.Goroutines, end.Goroutines, base.Files, end.Files)
}

// others is a table of what others wait for beside a nuisance.
func others(out *bytes.Buffer) (table *tabwriter.Writer, row func(name string, p99 outcome, must float64)) {
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "p99 of others, us\tquiet\tbeside it\tx quiet\tmust x\treached\t")
	return table, func(name string, p99 outcome, must float64) {
		reached := "must"
		if p99.times() > must {
			reached = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%s\t\n", name, p99.quiet, p99.beside, p99.times(), must, reached)
	}
}

// trial is a server and what is done to it.
type trial struct {
	server   server
	nuisance func(stop <-chan struct{})
}

// outcome is a trial's: 99th percentiles in microseconds.
type outcome struct{ quiet, beside float64 }

func (o outcome) times() float64 { return o.beside / o.quiet }

// besides measures the 99th percentiles of servers in rounds in which all take turns, quiet
// and beside their nuisances, since machines have hours: the medians.
func besides(b *testing.B, rounds int, interval time.Duration, trials ...trial) []outcome {
	b.Helper()
	without, with := make([][]sample, len(trials)), make([][]sample, len(trials))
	for range rounds {
		for k, x := range trials {
			without[k] = append(without[k], run(b, "rate-1", x.server, interval))
			stop := make(chan struct{})
			var gone sync.WaitGroup
			gone.Go(func() { x.nuisance(stop) })
			with[k] = append(with[k], run(b, "rate-1", x.server, interval))
			close(stop)
			gone.Wait()
		}
	}
	us := func(s sample) float64 { return float64(s.Latency.Delivery.P99) / float64(time.Microsecond) }
	all := make([]outcome, len(trials))
	for k := range trials {
		all[k] = outcome{median(without[k], us), median(with[k], us)}
	}
	return all
}

// neverRead subscribes to a thousand messages of a kilobyte a second, of which it reads
// none.
func neverRead(b *testing.B, n *harness.Node, stop <-chan struct{}) {
	deaf := harness.Connect(b, n.MQTT, mqtt.Connect{CleanStart: true})
	deaf.Send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("deaf")}}})
	pub := harness.Connect(b, n.MQTT, mqtt.Connect{CleanStart: true})
	var ten []harness.Packet
	for range 10 {
		ten = append(ten, &mqtt.Publish{Topic: []byte("deaf"), Payload: make([]byte, 1000)})
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			pub.Send(ten...)
		case <-stop:
			deaf.Drop()
			pub.Disconnect()
			return
		}
	}
}

// dribble sends the bytes of a PUBLISH one by one.
func dribble(b *testing.B, n *harness.Node, stop <-chan struct{}) {
	slow := harness.Connect(b, n.MQTT, mqtt.Connect{CleanStart: true})
	packet := (&mqtt.Publish{Topic: []byte("slow"), Payload: make([]byte, 1000)}).Append(nil, mqtt.V5)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		slow.SendBytes(packet[i : i+1])
		select {
		case <-tick.C:
		case <-stop:
			slow.Drop()
			return
		}
	}
}

// crumbs publishes a kilobyte a hundred times a second through a WebSocket, each byte in a
// frame of its own.
func crumbs(b *testing.B, n *harness.Node, stop <-chan struct{}) {
	conn, err := net.Dial("tcp", n.WS)
	if err != nil {
		b.Error(err)
		return
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: Y3J1bWJzLWNydW1icy1jcg==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", n.WS); err != nil {
		b.Error(err)
		return
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		b.Errorf("no WebSocket: %v, %v", answer, err)
		return
	}
	answer.Body.Close()
	frames := func(packet harness.Packet) (out []byte) {
		for _, x := range packet.Append(nil, mqtt.V5) {
			out = append(out, 0x82, 0x81, 0, 0, 0, 0, x) // binary, masked with nothing
		}
		return out
	}
	connect := &mqtt.Connect{Version: mqtt.V5, CleanStart: true}
	if _, err := conn.Write(frames(connect)); err != nil {
		b.Error(err)
		return
	}
	if _, err := in.ReadByte(); err != nil { // of CONNACK's frame
		b.Error(err)
		return
	}
	publish := frames(&mqtt.Publish{Topic: []byte("crumbs"), Payload: make([]byte, 1000)})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := conn.Write(publish); err != nil {
				b.Error(err)
				return
			}
		case <-stop:
			return
		}
	}
}

// storms has so many clients connect at once, and when all have been answered leave.
func storms(b *testing.B, addr string, size int, stop <-chan struct{}) {
	select {
	case <-time.After(200 * time.Millisecond): // the others have begun
	case <-stop:
	}
	storm := idle{bare: true, at: 1000}
	storm.connect(b, addr, size)
	<-stop
	storm.close()
}
