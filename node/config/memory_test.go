package config

import (
	"math"
	"testing"
)

func TestQueueMemory(t *testing.T) {
	for machine, want := range map[int64]int64{
		0: 64 << 20, 128 << 20: 64 << 20, 1<<30 + 5: 256 << 20, 8 << 30: 2 << 30, 1 << 40: 4 << 30,
	} {
		if got := quarter(machine, mostQueueMemory); got != want {
			t.Errorf("%d of a machine with %d, want %d", got, machine, want)
		}
	}
	for text, want := range map[string]int64{
		"MemTotal:       16384 kB\nMemFree: 3 kB\n": 16 << 20, "": math.MaxInt64, "MemTotal: x kB": math.MaxInt64, "Mem: 1 kB": math.MaxInt64,
	} {
		if got := memTotal([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
