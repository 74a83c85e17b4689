package main

import "testing"

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 6400, 4 << 20: 1600, 32 << 20: 200, 64 << 20: 100, 4 << 30: 100} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d bytes in use: GOGC %d, not %d", live, got, want)
		}
	}
}
