package limit

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// A bucket gives and refuses as one does that counts its tokens.
func TestBucketAgainstTokens(t *testing.T) {
	for _, c := range []struct {
		n     int
		burst time.Duration
		size  float64 // of the bucket
	}{{1, 0, 1}, {1, 2 * time.Second, 2}, {10, time.Second, 10}, {1000, 2 * time.Second, 2000}, {7, 500 * time.Millisecond, 3.5}} {
		r := perSecond(c.n, c.burst)
		random := rand.New(rand.NewPCG(uint64(c.n), 1))
		var b bucket
		tokens, now := c.size, int64(5)
		for range 20_000 {
			passed := random.Int64N(int64(3*time.Second)) / (1 + random.Int64N(int64(2*c.n)))
			now += passed
			tokens = min(tokens+float64(passed)/float64(r.interval), c.size)
			need := 1 + random.Int64N(2)
			has := b.has(r, need, now)
			if d := tokens - float64(need); d > 1e-6 && !has || d < -1e-6 && has {
				t.Fatalf("%d a second, %v: %v tokens, and it says %v of %d", c.n, c.burst, tokens, has, need)
			}
			if has {
				b = b.without(r, now)
				tokens--
			}
			if full := tokens >= c.size-1e-6; full != b.isFull(now) && tokens < c.size-1e-3 {
				t.Fatalf("full %v with %v tokens", b.isFull(now), tokens)
			}
		}
	}
}

// Many that take from one bucket get what it holds, and no more.
func TestSharedBucket(t *testing.T) {
	s := sharedBucket{r: perSecond(100, 2*time.Second)}
	for round, want := range []int{200, 50} {
		var got [8]int
		var all sync.WaitGroup
		for k := range got {
			all.Go(func() {
				for range 100 {
					if s.take(int64(time.Hour) + int64(round)*int64(time.Second/2)) {
						got[k]++
					}
				}
			})
		}
		all.Wait()
		sum := 0
		for _, n := range got {
			sum += n
		}
		if sum != want {
			t.Errorf("round %d: %d instead of %d", round, sum, want)
		}
	}
	var free sharedBucket
	if !free.take(1) {
		t.Error("a bucket without a rate refuses")
	}
}
