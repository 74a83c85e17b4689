package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Over any time a client sends what its rates allow and a second's worth more, plus the
// packet with which it went over; and who keeps to its rates is never held back.
func TestFlowKeepsToItsRates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, f := range []Flow{{Messages: 100}, {Bytes: 10_000}, {Messages: 50, Bytes: 20_000}, {Messages: 1}, {Messages: 1e9, Bytes: 1}} {
		var a Account
		now, start := time.Duration(rng.Int64N(1e12)), time.Duration(-1)
		messages, bytes, largest := int64(0), int64(0), int64(0)
		for range 20_000 {
			now += time.Duration(rng.Int64N(2e6))
			if f.Excess(&a, now) != NoExcess {
				continue
			}
			if start < 0 {
				start = now
			}
			size := int64(2 + rng.IntN(500))
			f.Charge(&a, int(size), now)
			messages, bytes, largest = messages+1, bytes+size, max(largest, size)
			seconds := (now - start).Seconds() + flowBurst.Seconds()
			if f.Messages > 0 && float64(messages) > seconds*float64(f.Messages)+1 {
				t.Fatalf("%+v: %d messages in %v", f, messages, now-start)
			}
			if f.Bytes > 0 && float64(bytes) > seconds*float64(f.Bytes)+float64(largest)+float64(messages) {
				t.Fatalf("%+v: %d bytes in %v", f, bytes, now-start)
			}
		}
		if least := (now - start).Seconds() * 0.9; f.Messages == 100 && float64(messages) < least*100 {
			t.Errorf("%+v: only %d messages in %v", f, messages, now-start)
		}
	}
}

func TestFlowLetsPassWhatItAllows(t *testing.T) {
	f := Flow{Messages: 10, Bytes: 1000}
	var a Account
	for now := time.Duration(0); now < time.Hour; now += 100 * time.Millisecond {
		if e := f.Excess(&a, now); e != NoExcess {
			t.Fatalf("excess %d after %v", e, now)
		}
		f.Charge(&a, 100, now)
	}
	for range 10 { // a second's worth at once
		if e := f.Excess(&a, time.Hour); e != NoExcess {
			t.Fatalf("excess %d", e)
		}
		f.Charge(&a, 100, time.Hour)
	}
	f.Charge(&a, 0, time.Hour)
	if e := f.Excess(&a, time.Hour); e != MessageExcess {
		t.Errorf("excess %d beyond the flowBurst", e)
	}
	var large Account
	f.Charge(&large, 5000, time.Hour)
	if e := f.Excess(&large, time.Hour+3999*time.Millisecond); e != ByteExcess {
		t.Errorf("excess %d before a large packet is paid for", e)
	}
	if e := f.Excess(&large, time.Hour+4*time.Second); e != NoExcess {
		t.Errorf("excess %d after that", e)
	}
}

// Case 57: the time that a client has is counted from when it was held back first, and anew
// when it has let as much time pass as it was ahead by.
func TestFlowLosesPatience(t *testing.T) {
	f := Flow{Messages: 10, Patience: 10 * time.Second}
	var a Account
	now := time.Duration(0)
	flood := func(d time.Duration) (tooLong bool) {
		for end := now + d; now < end; now += 50 * time.Millisecond {
			for f.Excess(&a, now) == NoExcess {
				f.Charge(&a, 2, now)
			}
			if f.Hold(&a, now) {
				return true
			}
		}
		return false
	}
	for range 3 {
		if flood(9 * time.Second) {
			t.Fatalf("lost patience after 9 s, at %v", now)
		}
		now += 2 * time.Second
	}
	began := now
	if !flood(time.Minute) {
		t.Fatal("patience for ever")
	}
	if d := now - began; d < 10*time.Second || d > 11*time.Second {
		t.Errorf("lost patience after %v", d)
	}
	f.Patience = 0
	if flood(time.Hour) {
		t.Error("lost patience that has no end")
	}
}

func BenchmarkFlow(b *testing.B) {
	f := Flow{Messages: 1e6, Bytes: 1e9}
	var a Account
	now := time.Duration(0)
	for b.Loop() {
		now += 1000
		if f.Excess(&a, now) == NoExcess {
			f.Charge(&a, 100, now)
		}
	}
}
