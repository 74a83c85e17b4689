package report

import (
	"math"
	"math/rand/v2"
	"time"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/preflight"
	"dunlin/proto/mqtt"
)

// environment is a machine that is the same everywhere.
var environment = Environment{
	System: "linux/amd64", Kernel: "6.18.44", Processor: "A Processor (2 threads)", Processors: 2, Memory: 24 << 30, Go: "go1.26.8",
}

var limits = []preflight.Finding{
	{Subject: "open files of a process", Verdict: preflight.Enough, Found: "at most 20,000", Needed: "664 in 1 process"},
	{Subject: "local ports", Verdict: preflight.Tight, Found: "28,232, 32768 to 60999",
		Needed: "20,000 from one source address to one broker address",
		Why:    "beyond 13,269 the kernel's search for a free port costs ten times as much",
		Change: []string{"--ifaddr with 2 addresses of this machine", `sysctl -w net.ipv4.ip_local_port_range="1024 65535"`}},
}

// lognormal records n samples around a median.
func lognormal(r *rand.Rand, n int, median time.Duration, spread float64) *load.Histogram {
	h := load.NewHistogram()
	for range n {
		h.Record(time.Duration(float64(median) * math.Exp(spread*r.NormFloat64())))
	}
	return h
}

// around is the summary of an interval with about that median.
func around(r *rand.Rand, median time.Duration) load.Summary {
	some := func(times float64) time.Duration {
		return time.Duration(float64(median) * times * (0.9 + 0.2*r.Float64()))
	}
	return load.Summary{Count: 100, P50: some(1), P95: some(2), P99: some(3), Max: some(5)}
}

// messages is a run of p2p with QoS 1 at a rate, of so many seconds, in the middle of
// which the broker stalls.
func messages(seconds int, seed uint64) *Document {
	r := rand.New(rand.NewPCG(seed, 1))
	const rate = 10_000
	c := load.Config{
		Verb: load.P2P, Brokers: []string{"127.0.0.1:1883", "127.0.0.1:1884"}, Transport: "tcp", Version: mqtt.V311, Prefix: "bench",
		KeepAlive: time.Minute, Clean: true, Publishers: 300, Subscribers: 300, Topic: "bench/%i", Filter: "bench/%i", QoS: 1, Size: 128,
		Rate: rate, Window: 1000, Batch: 1, ConnectRate: 1000, Pending: 100, Warmup: 2 * time.Second,
		Duration: time.Duration(seconds) * time.Second, Patience: 10 * time.Second, Interval: time.Second, PIDs: []int{4711},
	}
	sent := uint64(rate * seconds)
	res := load.Result{
		Config: c, Layout: load.Layout{Processes: 1, Connections: 600, Files: 664, Sources: 1, PerSource: 600, Total: 600},
		Started: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), End: load.EndDuration,
		Elapsed: c.Duration + 4*time.Second, Measured: c.Duration,
		Connections: load.Connections{Wanted: 600, Connected: 600, Held: 600, Elapsed: 600 * time.Millisecond},
		Messages:    load.Counts{Sent: sent, Acked: sent, Received: sent, SentBytes: sent * 128, RecvBytes: sent * 128},
		Total: load.Counts{Sent: sent + 2*rate, Acked: sent + 2*rate, Received: sent + 2*rate,
			SentBytes: (sent + 2*rate) * 128, RecvBytes: (sent + 2*rate) * 128},
		Check: load.Check{Complete: true, Expected: sent + 2*rate, Delivered: sent + 2*rate},
		Latency: load.Latencies{
			Delivery: lognormal(r, 20_000, 400*time.Microsecond, 0.5), Ack: lognormal(r, 20_000, 300*time.Microsecond, 0.4),
			Connect: lognormal(r, 600, 900*time.Microsecond, 0.7), Ping: lognormal(r, 600, 150*time.Microsecond, 0.3),
		},
		Load:    []load.Process{{PID: 4712, Name: "dunlin", CPU: c.Duration / 4, Memory: 40 << 20, Peak: 44 << 20}},
		Brokers: []load.Process{{PID: 4711, Name: "dunlin", CPU: c.Duration / 3, Memory: 61 << 20, Peak: 70 << 20}},
	}
	at := time.Duration(0)
	interval := func(p load.Phase) *load.Interval {
		at += time.Second
		res.Series = append(res.Series, load.Interval{At: at, Length: time.Second, Phase: p, Connected: 600})
		i := &res.Series[len(res.Series)-1]
		i.BrokerMemory = 55<<20 + int64(len(res.Series))*(10<<10)
		return i
	}
	first := interval(load.Connecting)
	first.Connects, first.Latency, first.LoadCPU, first.BrokerCPU = 600, res.Latency.Connect.Summary(), 40*time.Millisecond, 60*time.Millisecond
	for n := range seconds + 2 {
		p := load.Measure
		if n < 2 {
			p = load.Warmup
		}
		i := interval(p)
		got := uint64(rate + r.IntN(400) - 200)
		i.Counts = load.Counts{Sent: rate, Acked: got, Received: got, SentBytes: rate * 128, RecvBytes: got * 128}
		i.Latency = around(r, 400*time.Microsecond)
		i.LoadCPU, i.BrokerCPU = time.Duration(230+r.IntN(40))*time.Millisecond, time.Duration(300+r.IntN(60))*time.Millisecond
		if n == seconds/2 {
			i.Received, i.Latency = 2000, around(r, 40*time.Millisecond)
		}
	}
	interval(load.Draining)
	return New(res, "v0.4.0", []string{"dunlin", "bench", "p2p", "-c", "600", "--rate", "10000", "-q", "1"}, environment, limits)
}

// losing is a run that has failed, whose failures hold what nobody should obey.
func losing() *Document {
	d := messages(12, 7)
	d.Check.Delivered -= 37
	d.Check.Lost, d.Check.Duplicates, d.Check.Unacked = 37, 2, 5
	d.Connections.Connected, d.Connections.Held, d.Connections.Unanswered, d.Connections.Lost = 590, 580, 4, 6
	d.Total.Errors = 1216
	d.Failures = []load.Failure{
		{What: "connect", Why: "connection refused", Count: 1200, Example: "bench-17 at 127.0.0.1:1884"},
		{What: "publish", Why: `<script>alert("no")</script>`, Count: 12, Example: "</svg><img src=https://example.org/x onerror=alert(1)>"},
		{What: "ping", Why: "no answer in 10s", Count: 4, Example: "bench-3\x1b[2J at 127.0.0.1:1883"},
	}
	d.Brokers = append(d.Brokers, load.Process{PID: 4713})
	d.Command = append(d.Command, "--topic", "<b>&'\"")
	return New(d.Result, d.Dunlin, d.Command, d.Environment, d.Limits)
}

// connections is a run of conn, which has no messages.
func connections() *Document {
	r := rand.New(rand.NewPCG(3, 1))
	c := load.Config{
		Verb: load.Conn, Brokers: []string{"127.0.0.1:1883"}, Transport: "tls", Version: mqtt.V5, Prefix: "bench", KeepAlive: 5 * time.Minute, Clean: true,
		Subscribers: 57_000, Filter: "bench/%i", ConnectRate: 4000, Pending: 200, Interval: time.Second, Patience: 10 * time.Second, PIDs: []int{51, 52, 53},
	}
	res := load.Result{
		Config: c, Layout: load.Layout{Processes: 3, Connections: 19_000, Files: 19_064, Sources: 5, PerSource: 11_400, Total: 57_000},
		Started: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), End: load.EndDone, Elapsed: 32 * time.Second, Measured: 10 * time.Second,
		Connections: load.Connections{Wanted: 57_000, Connected: 57_000, Held: 57_000, Elapsed: 15 * time.Second},
		Latency:     load.Latencies{Connect: lognormal(r, 57_000, 4*time.Millisecond, 0.8), Ping: lognormal(r, 57_000, 2*time.Millisecond, 0.5)},
	}
	for i := range 3 {
		res.Load = append(res.Load, load.Process{PID: 60 + i, Name: "dunlin", CPU: 30 * time.Millisecond, Memory: 25 << 20, Peak: 26 << 20})
		res.Brokers = append(res.Brokers, load.Process{PID: 51 + i, Name: "dunlin", CPU: 20 * time.Millisecond, Memory: 150 << 20, Peak: 190 << 20})
	}
	connected := 0
	for n := range 32 {
		i := load.Interval{At: time.Duration(n+1) * time.Second, Length: time.Second, Phase: load.Measure}
		switch {
		case n < 15:
			i.Phase, i.Connects = load.Connecting, uint64(min(57_000-connected, 3700+r.IntN(300)))
			i.Latency = around(r, 4*time.Millisecond)
			i.LoadCPU, i.BrokerCPU = 700*time.Millisecond, 1100*time.Millisecond
		case n < 22:
			i.Phase, i.LoadCPU, i.BrokerCPU = load.Pinging, 200*time.Millisecond, 250*time.Millisecond
		default:
			i.LoadCPU, i.BrokerCPU = 10*time.Millisecond, 6*time.Millisecond
		}
		if n == 14 {
			i.Connects = uint64(57_000 - connected)
		}
		connected += int(i.Connects)
		i.Connected, i.BrokerMemory = connected, 60<<20+int64(connected)*6900
		res.Series = append(res.Series, i)
	}
	return New(res, "v0.4.0", []string{"dunlin", "bench", "conn", "-c", "57000"}, environment, limits[:1])
}
