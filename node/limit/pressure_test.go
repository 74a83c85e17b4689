package limit

import (
	"testing"
	"time"
)

// The node is under pressure while it is short of anything, and no longer.
func TestPressure(t *testing.T) {
	var p Pressure
	if p.Level() != None {
		t.Fatal("a node that lacks nothing sheds")
	}
	p.Set(Memory, Shed)
	p.Set(Disk, Shed)
	p.Set(Memory, Shed)
	p.Set(Memory, None)
	if p.Level() != Shed || p.Of(Memory) != None || p.Of(Disk) != Shed || p.Of(Loops) != None {
		t.Errorf("short of the disk: %v, memory %v, disk %v, loops %v", p.Level(), p.Of(Memory), p.Of(Disk), p.Of(Loops))
	}
	p.Set(Disk, None)
	if p.Level() != None {
		t.Error("sheds when it lacks nothing any more")
	}
}

// A loop is behind when several ticks in a row are late; that one is, says only that the
// process stood still.
func TestLoopBehind(t *testing.T) {
	const most = 500 * time.Millisecond
	for name, c := range map[string]struct {
		late []time.Duration // of each tick
		want Level
	}{
		"in time":            {[]time.Duration{0, 0, 0, 0, 0, 0}, None},
		"a little late":      {[]time.Duration{0, most, most, most, most, most}, None},
		"stood still":        {[]time.Duration{0, 0, time.Hour, 0, 0}, None},
		"on and off":         {[]time.Duration{0, 2 * most, 2 * most, 2 * most, 0, 2 * most, 2 * most, 2 * most}, None},
		"behind":             {[]time.Duration{0, 2 * most, 2 * most, 2 * most, 2 * most}, Shed},
		"behind for long":    {[]time.Duration{0, 2 * most, 2 * most, 2 * most, 2 * most, 2 * most, 2 * most}, Shed},
		"not behind anymore": {[]time.Duration{0, 2 * most, 2 * most, 2 * most, 2 * most, 2 * most, 0}, None},
	} {
		var p Pressure
		one, other := p.WatchLoop(most), p.WatchLoop(most)
		never := p.WatchLoop(0)
		now := time.Duration(0)
		for _, late := range c.late {
			now += tick + late
			one.Tick(now)
			never.Tick(now)
		}
		if p.Level() != c.want || p.Of(Loops) != c.want {
			t.Errorf("%s: %v instead of %v", name, p.Level(), c.want)
		}
		for range lateTicks + 1 {
			now += tick + 2*most
			other.Tick(now)
		}
		now += tick
		one.Tick(now - tick)
		one.Tick(now)
		if p.Level() != Shed {
			t.Errorf("%s: the other loop is behind, and the node does not shed", name)
		}
		other.Tick(now)
		if p.Level() != None {
			t.Errorf("%s: sheds for nothing", name)
		}
	}
}
