package listen

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func benchDrivers(b *testing.B, bench func(b *testing.B, o Options)) {
	for _, portable := range []bool{false, true} {
		name := "epoll"
		if portable {
			name = "goroutines"
		}
		b.Run(name, func(b *testing.B) { bench(b, Options{Portable: portable, Loops: 1}) })
	}
}

// One message there and back, nothing else going on: what counts is wake-ups.
func BenchmarkEcho(b *testing.B) {
	benchDrivers(b, func(b *testing.B, o Options) {
		_, addr := serve(b, o, echo)
		c := dial(b, addr)
		_ = c.SetDeadline(time.Time{})
		f := append(binary.BigEndian.AppendUint32(nil, 128), make([]byte, 128)...)
		cpu := cpuTime()
		for b.Loop() {
			if _, err := c.Write(f); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, f); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	})
}

// Messages of 128 bytes from a publisher to a subscriber, up to 32 a write: the
// process's CPU time per message, clients included.
func BenchmarkRelay(b *testing.B) {
	benchDrivers(b, func(b *testing.B, o Options) {
		const message, perWrite = 140, 32
		s, addr := serve(b, o, newRelay(1).handle)
		sub := join(b, addr, 's', 'x')
		defer sub.Close()
		pub := join(b, addr, 'p', 'x')
		defer pub.Close()
		block := make([]byte, message*perWrite)
		before, cpu := s.Stats(), cpuTime()
		var received atomic.Int64
		done := make(chan struct{})
		b.ResetTimer()
		go func() {
			defer close(done)
			buf := make([]byte, 1<<20)
			for received.Load() < int64(b.N)*message {
				n, err := sub.Read(buf)
				if err != nil {
					b.Error(err)
					return
				}
				received.Add(int64(n))
			}
		}()
		for sent := 0; sent < b.N; sent += perWrite {
			n := min(perWrite, b.N-sent)
			if _, err := pub.Write(block[:n*message]); err != nil {
				b.Fatal(err)
			}
		}
		<-done
		b.StopTimer()
		st := s.Stats()
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(st.Reads-before.Reads)/float64(b.N), "reads/op")
		b.ReportMetric(float64(st.Flushes-before.Flushes)/float64(b.N), "writes/op")
	})
}

// The life of a connection: connect, one message echoed, close.
func BenchmarkConnection(b *testing.B) {
	benchDrivers(b, func(b *testing.B, o Options) {
		_, addr := serve(b, o, echo)
		cpu := cpuTime()
		for b.Loop() {
			syscall.Close(rawEcho(b, addr))
		}
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	})
}

// An idle connection that has been spoken to: memory of this process, without the
// kernel's. The client's end is a bare descriptor.
func BenchmarkIdleConnection(b *testing.B) {
	benchDrivers(b, func(b *testing.B, o Options) {
		const n = 4 * tableChunk
		for b.Loop() { // what is measured is not time
		}
		_, addr := serve(b, o, echo)
		before := heap()
		clients := make([]int, n)
		for i := range clients {
			clients[i] = rawEcho(b, addr)
		}
		b.ReportMetric(float64(int64(heap()-before))/n-8, "B/conn")
		for _, fd := range clients {
			syscall.Close(fd)
		}
	})
}

// rawEcho connects without package net's memory, and has one message echoed.
func rawEcho(b *testing.B, addr string) int {
	a, err := net.ResolveTCPAddr("tcp", addr)
	must(b, err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(b, err)
	must(b, syscall.Connect(fd, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}))
	_, err = syscall.Write(fd, []byte{0, 0, 0, 0})
	must(b, err)
	_, err = syscall.Read(fd, make([]byte, 4))
	must(b, err)
	return fd
}

// heap is the memory in use, stacks included.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// cpuTime is what the process has used, user and system, in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// One post from another goroutine to a loop that is awake or asleep.
func BenchmarkPost(b *testing.B) {
	benchDrivers(b, func(b *testing.B, o Options) {
		got := make(chan struct{})
		n := 0
		var total int
		s, _ := serve(b, o, func(Loop) Handler {
			return &funcs{mail: func(any) {
				if n++; n == total {
					got <- struct{}{}
				}
			}}
		})
		total = b.N
		l := s.Loop(0)
		b.ResetTimer()
		for range b.N {
			l.Post(nil)
		}
		<-got
	})
}
