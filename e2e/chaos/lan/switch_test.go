package lan

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// over sends n packets of 100 bytes at once over one link and says which came,
// and when.
func over(t *testing.T, r Rule, n int) (order []byte, after []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		start := time.Now()
		f := newFabric(2, 1, func(to int, data []byte) {
			mu.Lock()
			defer mu.Unlock()
			if to != 1 {
				t.Errorf("came to port %d", to)
			}
			order = append(order, data[0])
			after = append(after, time.Since(start))
		})
		f.set(0, 1, r)
		for i := range n {
			data := make([]byte, 100)
			data[0] = byte(i)
			f.forward(0, 1, data)
		}
		time.Sleep(time.Minute)
		f.close()
	})
	return order, after
}

func TestRules(t *testing.T) {
	const n = 200
	rising := func(order []byte) bool {
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				return false
			}
		}
		return true
	}
	for _, c := range []struct {
		name string
		rule Rule
		ok   func(order []byte, after []time.Duration) bool
	}{
		{"none", Rule{}, func(o []byte, a []time.Duration) bool { return len(o) == n && a[n-1] == 0 && rising(o) }},
		{"cut", Rule{Cut: true}, func(o []byte, _ []time.Duration) bool { return len(o) == 0 }},
		{"delay", Rule{Delay: time.Second}, func(o []byte, a []time.Duration) bool {
			return len(o) == n && a[0] == time.Second && a[n-1] == time.Second && rising(o)
		}},
		{"jitter", Rule{Delay: time.Second, Jitter: time.Second}, func(o []byte, a []time.Duration) bool {
			return len(o) == n && a[0] >= time.Second && a[0] < a[n-1] && a[n-1] <= 2*time.Second && rising(o)
		}},
		{"loss", Rule{Loss: 0.2}, func(o []byte, _ []time.Duration) bool { return len(o) > n*7/10 && len(o) < n*9/10 && rising(o) }},
		{"duplicates", Rule{Duplicate: 0.2}, func(o []byte, _ []time.Duration) bool { return len(o) > n*11/10 && len(o) < n*13/10 }},
		{"reorder", Rule{Delay: time.Second, Reorder: 0.1}, func(o []byte, a []time.Duration) bool {
			return len(o) == n && !rising(o) && a[0] == 0
		}},
		// 20,000 bytes at 20,000 a second take one second; what would wait for longer
		// than the backlog is dropped.
		{"rate", Rule{Rate: 20_000}, func(o []byte, a []time.Duration) bool {
			return len(o) > n*4/10 && len(o) < n*6/10 && a[0] == 5*time.Millisecond && rising(o)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if order, after := over(t, c.rule, n); !c.ok(order, after) {
				t.Errorf("%d packets of %d came: %v after %v", len(order), n, order, after)
			}
		})
	}
}

// TestSeed: one seed, one fate.
func TestSeed(t *testing.T) {
	r := Rule{Loss: 0.3, Duplicate: 0.1, Delay: time.Second, Jitter: time.Second, Reorder: 0.1}
	a, _ := over(t, r, 100)
	b, _ := over(t, r, 100)
	if string(a) != string(b) {
		t.Errorf("%v, then %v", a, b)
	}
}
