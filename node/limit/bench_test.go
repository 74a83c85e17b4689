package limit

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// What all steps of a connection's way in and out cost, from as many goroutines as there
// are processors and as many addresses and users as a million connections have.
func BenchmarkDoor(b *testing.B) {
	for name, o := range map[string]Options{
		"defaults": {MaxConnections: 1 << 30},
		"all": {MaxConnections: 1 << 30, ConnectionsPerAddress: 100, ConnectionsPerUser: 100, ConnectRate: 1e9, ConnectRatePerAddress: 1e6,
			ConnectRatePerUser: 1e6, ConnectBurst: time.Second, Flapping: 1 << 30, FlappingWindow: time.Minute, Pressure: new(Pressure)},
	} {
		b.Run(name, func(b *testing.B) {
			start := time.Now()
			o.Clock = func() time.Duration { return time.Since(start) }
			d := NewDoor(o)
			var next atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				k := next.Add(1) << 24
				user := []byte("device-000000")
				for pb.Next() {
					k++
					from := netip.AddrFrom4([4]byte{10, byte(k >> 24), byte(k >> 8), byte(k)})
					user[7], user[8], user[9] = byte('a'+k%16), byte('a'+k>>4%16), byte('a'+k>>8%16)
					why, _ := d.Arrive("mqtt", from)
					if why == Admitted {
						why = d.Greet(user, user)
					}
					if name := string(user); why == Admitted {
						if why = d.Enter(name, name, from); why == Admitted {
							d.Leave(name)
						}
					}
					if why != Admitted {
						b.Fatal(why)
					}
					d.Depart("mqtt", from, why)
				}
			})
		})
	}
}
