package router

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"unsafe"
)

const million = 1_000_000

// filled returns a table with n filters, each of one subscriber, and what a
// filter costs in memory.
func filled(b *testing.B, n int, filter func(i int) string) (tb *Table, bytesPerFilter float64) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tb = NewTable()
	for i := range n {
		tb.Subscribe(mustFilter(b, filter(i)), Subscriber(i+1), Options{QoS: 1})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return tb, float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
}

func exactFilter(i int) string { return "site/7/device/" + strconv.Itoa(i) + "/cmd" } // 23 to 24 bytes

// wildFilter mixes filters with + and with #, under few and under many prefixes.
func wildFilter(i int) string {
	switch d := strconv.Itoa(i); i % 4 {
	case 0:
		return "site/7/device/" + d + "/#"
	case 1:
		return "site/7/" + d + "/+/cmd"
	case 2:
		return "site/+/sensor/" + d
	default:
		return "fleet/" + strconv.Itoa(i%1000) + "/+/" + d + "/#"
	}
}

func wildTopic(i int) string {
	switch d := strconv.Itoa(i); i % 4 {
	case 0:
		return "site/7/device/" + d + "/cmd"
	case 1:
		return "site/7/" + d + "/x/cmd"
	case 2:
		return "site/7/sensor/" + d
	default:
		return "fleet/" + strconv.Itoa(i%1000) + "/x/" + d + "/y"
	}
}

// matchAll matches topics in an order that no cache foresees.
func matchAll(b *testing.B, tb *Table, n, want int, topic func(i int) string) {
	b.Helper()
	// The topics themselves lie in a row, as they do in a read buffer.
	var text []byte
	topics := make([]Topic, 1<<16)
	for range 2 { // the second time text has grown and stays where it is
		text = text[:0]
		for i := range topics {
			at := len(text)
			text = append(text, topic(int(uint64(i)*0x9e3779b1%uint64(n)))...)
			topics[i] = Topic{unsafe.String(&text[at], len(text)-at)}
		}
	}
	var ms Matches
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		tb.Match(topics[i&(len(topics)-1)], 0, &ms)
		if len(ms.Local) != want {
			b.Fatalf("%q has %d subscribers, want %d", topics[i&(len(topics)-1)], len(ms.Local), want)
		}
	}
}

func BenchmarkMatchExact(b *testing.B) {
	tb, perFilter := filled(b, million, exactFilter)
	b.Run("spread", func(b *testing.B) {
		matchAll(b, tb, million, 1, exactFilter)
		b.ReportMetric(perFilter, "bytes/filter")
	})
	b.Run("few topics", func(b *testing.B) { matchAll(b, tb, 1000, 1, exactFilter) })
	b.Run("none", func(b *testing.B) {
		matchAll(b, tb, million, 0, func(i int) string { return "site/8/device/" + strconv.Itoa(i) })
	})
	tb.Subscribe(mustFilter(b, "site/+/device/+/cmd"), 1<<40, Options{})
	b.Run("and a wildcard", func(b *testing.B) { matchAll(b, tb, million, 2, exactFilter) })
}

func BenchmarkMatchWildcard(b *testing.B) {
	tb, perFilter := filled(b, million, wildFilter)
	b.Run("spread", func(b *testing.B) { matchAll(b, tb, million, 1, wildTopic); b.ReportMetric(perFilter, "bytes/filter") })
	b.Run("few topics", func(b *testing.B) { matchAll(b, tb, 1000, 1, wildTopic) })
	b.Run("none", func(b *testing.B) {
		matchAll(b, tb, million, 0, func(i int) string { return "other/7/device/" + strconv.Itoa(i) })
	})
}

// remote returns a table with n routes of three nodes, and what a route costs in memory.
func remote(n int) (tb *Table, bytesPerRoute float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tb = NewTable()
	for i := range n {
		tb.ApplyRemote(NodeID(1+i%3), []Change{{Op: AddExact, Fingerprint: fingerprint(exactFilter(i))}})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return tb, float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
}

// BenchmarkMatchRemote asks among routes of which arrays are full, and fuller, and of
// few and many: 17,000 are what e2e/bench holds.
func BenchmarkMatchRemote(b *testing.B) {
	for _, n := range []int{17_000, million, million * 5 / 4, million * 3 / 2} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			tb, perRoute := remote(n)
			b.Run("found", func(b *testing.B) {
				matchAll(b, tb, n, 0, exactFilter)
				b.ReportMetric(perRoute, "bytes/route")
			})
			b.Run("none", func(b *testing.B) {
				matchAll(b, tb, n, 0, func(i int) string { return "site/8/device/" + strconv.Itoa(i) })
			})
		})
	}
}

// BenchmarkApplyRemote is what a change of another node's routes takes beside a million
// others, as they come and go, and a change of a full copy of 20,000 that stood before.
func BenchmarkApplyRemote(b *testing.B) {
	const few = 20_000
	tb, _ := remote(million)
	changes := func(op Op) []Change {
		cs := make([]Change, few)
		for i := range cs {
			cs[i] = Change{Op: op, Fingerprint: fingerprint("new/" + strconv.Itoa(i))}
		}
		return cs
	}
	adds, removes := changes(AddExact), changes(RemoveExact)
	perChange := func(b *testing.B, n int) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/change")
	}
	b.Run("come and go", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			tb.ApplyRemote(7, adds)
			tb.ApplyRemote(7, removes)
		}
		perChange(b, 2*few)
	})
	b.Run("full copy", func(b *testing.B) {
		tb.ApplyRemote(7, adds)
		b.ReportAllocs()
		for range b.N {
			tb.BeginRemote(7)
			for cs := adds; len(cs) > 0; {
				n := min(len(cs), chunkChanges)
				tb.ApplyRemote(7, cs[:n])
				cs = cs[n:]
			}
			tb.EndRemote(7)
		}
		perChange(b, few)
	})
}

func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		for _, watchers := range []int{0, 1} {
			b.Run(fmt.Sprintf("%d+%d", n, watchers), func(b *testing.B) {
				tb, perSubscriber := filled(b, n, func(int) string { return "news" })
				for range watchers {
					tb.Subscribe(mustFilter(b, "#"), 7, Options{})
				}
				matchAll(b, tb, 1, n, func(int) string { return "news" })
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/subscriber")
				b.ReportMetric(perSubscriber, "bytes/subscriber")
			})
		}
	}
}

func BenchmarkSubscribe(b *testing.B) {
	for _, c := range []struct {
		name   string
		filter func(int) string
	}{{"exact", exactFilter}, {"wildcard", wildFilter}} {
		b.Run(c.name, func(b *testing.B) {
			tb, _ := filled(b, million, c.filter)
			filters := make([]Filter, 1<<14)
			for i := range filters {
				filters[i] = mustFilter(b, c.filter(million+i))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				f := filters[i&(len(filters)-1)]
				tb.Subscribe(f, 1, Options{})
				tb.Unsubscribe(f, 1)
			}
		})
	}
	b.Run("fan-out", func(b *testing.B) {
		tb, _ := filled(b, 100_000, func(int) string { return "news" })
		f := mustFilter(b, "news")
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			tb.Subscribe(f, Subscriber(1<<40+i), Options{})
			tb.Unsubscribe(f, Subscriber(1<<40+i))
		}
	})
}

func BenchmarkParseTopic(b *testing.B) {
	topic := []byte(exactFilter(12345))
	b.ReportAllocs()
	for range b.N {
		if _, err := ParseTopic(topic); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGroupPick(b *testing.B) {
	tb := NewTable()
	f := mustFilter(b, "$share/g/a")
	for s := range Subscriber(10) {
		tb.Subscribe(f, s+1, Options{})
	}
	tb.ApplyRemote(1, []Change{{Op: SetGroup, Filter: f.String(), Members: 10}})
	g := tb.Group(f)
	for range b.N {
		g.Pick(g.Turn(), 0)
	}
}
