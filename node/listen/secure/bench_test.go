package secure_test

import (
	"crypto/tls"
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"dunlin/node/listen"
)

// BenchmarkIdle measures what a connection holds that has exchanged a packet each way
// and is idle: bytes of heap and stacks on the server's side, the clients' put apart.
func BenchmarkIdle(b *testing.B) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		b.Run(name, func(b *testing.B) {
			r := &rig{ca: newAuthority(b)}
			r.conf = &tls.Config{Certificates: []tls.Certificate{r.ca.server(b)}, MaxVersion: version}
			r.serve(b, listen.Options{Loops: 1})
			const n = 1000
			var with, without uint64
			for b.Loop() {
				clients := make([]*tls.Conn, n)
				for i := range clients {
					c := tls.Client(r.raw(b), r.client())
					_, err := c.Write(make([]byte, 60))
					must(b, err)
					_, err = io.ReadFull(c, make([]byte, 60))
					must(b, err)
					clients[i] = c
				}
				with = held()
				for _, c := range clients {
					_ = c.NetConn().Close()
				}
				for r.loops.Stats().Open > 0 {
					runtime.Gosched()
				}
				without = held()
				runtime.KeepAlive(clients)
			}
			b.ReportMetric(float64(int64(with-without))/n, "B/conn")
		})
	}
}

// held is the memory in use after a collection.
func held() uint64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
