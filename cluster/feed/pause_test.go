package feed

import (
	"testing"
	"time"
)

func TestPause(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	for _, test := range []struct {
		name  string
		after time.Duration // the beginning of a slot of any length
		took  time.Duration
		peers int
		want  time.Duration
	}{
		{"three nodes", 0, 10 * time.Millisecond, 2, 0},
		{"three nodes, starved", 0, 64 * time.Millisecond, 2, 4 * time.Millisecond},
		{"a quiet cluster", 0, 500 * time.Microsecond, 8, 0},
		{"many nodes", 0, 500 * time.Microsecond, 51, 16 * time.Millisecond},
		{"many nodes, within a slot", 15 * time.Millisecond, 500 * time.Microsecond, 51, 17 * time.Millisecond},
		{"many busy nodes", 0, 20 * time.Millisecond, 51, 512 * time.Millisecond},
		{"many nodes, and a silent one", 100 * time.Millisecond, time.Hour, 1000, 412 * time.Millisecond},
	} {
		if got := Pause(at.Add(test.after), test.took, test.peers); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// A pause is never longer than what it is in proportion to, and ends with a slot that is
// at least half as long.
func FuzzPause(f *testing.F) {
	f.Add(int64(1), int64(20_000_000), 51)
	f.Add(int64(-7), int64(20_000_000), 17)
	f.Fuzz(func(t *testing.T, now, took int64, peers int) {
		took, peers = max(took, 0), max(min(peers, 1<<16), 0)
		exact := min(float64(took)*float64(peers*peers)/64, float64(maxPause))
		at := time.Unix(0, now)
		got := Pause(at, time.Duration(took), peers)
		if got == 0 {
			return
		}
		slot := minPause
		for float64(2*slot) <= exact {
			slot *= 2
		}
		end := at.Add(got)
		if float64(got) > exact || float64(got)+float64(slot) < exact || !end.Equal(end.Truncate(slot)) {
			t.Fatalf("%v where %v is in proportion", got, time.Duration(exact))
		}
	})
}
