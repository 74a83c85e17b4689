package limit

import (
	"bytes"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
)

// Case 56: the mark is crossed once, with one line in the log, and left some way below.
func TestMarkIsCrossedOnce(t *testing.T) {
	var p Pressure
	var log bytes.Buffer
	now, broken := Reading{High: 100, Back: 90}, error(nil)
	m := Mark{Cause: Memory, Pressure: &p, Read: func() (Reading, error) { return now, broken }, Log: slog.New(slog.NewTextHandler(&log, nil))}
	lines := 0
	for _, step := range []struct {
		used  int64
		err   error
		over  Level
		lines int
	}{
		{used: 99}, {used: 100, over: Shed, lines: 1}, {used: 101, over: Shed}, {used: 95, over: Shed}, {used: 90, over: Shed},
		{used: 89, lines: 1}, {used: 99}, {used: 100, over: Shed, lines: 1},
		{err: errors.New("broken"), over: Shed, lines: 1}, {err: errors.New("broken"), over: Shed}, {used: 1, lines: 1},
	} {
		now.Used, broken = step.used, step.err
		m.Look()
		lines += step.lines
		if got := p.Of(Memory); got != step.over {
			t.Fatalf("%+v: %v", step, got)
		}
		if n := strings.Count(log.String(), "\n"); n != lines {
			t.Fatalf("%+v: %d lines, want %d:\n%s", step, n, lines, log.String())
		}
	}
	if used, high, crossings := m.Stats(); used != 1 || high != 100 || crossings != 2 {
		t.Errorf("%d in use, mark %d, crossed %d times", used, high, crossings)
	}
	now = Reading{Used: 1 << 40}
	if m.Look(); p.Of(Memory) != None {
		t.Error("crossed without a mark")
	}
}

func TestDiskReading(t *testing.T) {
	const gb = 1 << 30
	for name, c := range map[string]struct {
		size, free, reserve int64
		want                Reading
	}{
		"large":  {1000 * gb, 900 * gb, gb, Reading{100 * gb, 999 * gb, 999*gb - gb/4}},
		"small":  {2000, 500, gb, Reading{1500, 1900, 1875}},
		"nobody": {1000 * gb, 1, 0, Reading{Used: 1000*gb - 1}},
	} {
		if got := diskReading(c.size, c.free, c.reserve); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	r, err := DiskMark(t.TempDir(), 1)()
	if err != nil || r.Used <= 0 || r.High <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := DiskMark(t.TempDir()+"/none", 1)(); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

// What is in use follows what is held, and not what is garbage.
func TestMemoryInUse(t *testing.T) {
	const size = 64 << 20
	read := MemoryMark(1000, 80)
	before, err := read()
	if err != nil || before.High != 800 || before.Back != 760 {
		t.Fatalf("%+v, %v", before, err)
	}
	held := make([]byte, size)
	runtime.GC()
	with, _ := read()
	if more := with.Used - before.Used; more < size*9/10 {
		t.Errorf("%d bytes more in use for %d held", more, size)
	}
	runtime.KeepAlive(held)
	runtime.GC()
	after, _ := read()
	if less := with.Used - after.Used; less < size*9/10 {
		t.Errorf("%d bytes less in use without %d", less, size)
	}
	if r, _ := MemoryMark(1000, 100)(); r.High != 0 {
		t.Errorf("a mark of 100 percent at %d", r.High)
	}
	if r, _ := MemoryMark(0, 80)(); r.High != 0 {
		t.Errorf("a mark at %d of memory that is not known", r.High)
	}
}
