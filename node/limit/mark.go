package limit

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// A Mark is how much of something may be in use before the node begins to refuse what
// would take more of it, well before there is none (case 56). Once it is crossed, what is
// in use has to fall some way below it, so that a node at its mark does not let in
// and turn away by turns.
type Mark struct {
	Cause    Cause
	Read     func() (Reading, error)
	Pressure *Pressure
	Log      *slog.Logger

	used, high, crossings atomic.Int64
	blind                 bool // Read failed, and the log says so
}

// Reading is what Mark.Read finds, in bytes.
type Reading struct {
	Used int64
	High int64 // from how many on it is too much; 0: never
	Back int64 // below how many it is over
}

// Look compares what is in use now with the mark. It is called by one goroutine, again and
// again. While nothing can be read, what was found last holds.
func (m *Mark) Look() {
	r, err := m.Read()
	if err != nil {
		if !m.blind {
			m.Log.Error("cannot see how much is in use", "of", m.Cause.String(), "err", err)
		}
		m.blind = true
		return
	}
	m.blind = false
	m.used.Store(r.Used)
	m.high.Store(r.High)
	over := m.Pressure.Of(m.Cause) != None
	switch {
	case !over && r.High > 0 && r.Used >= r.High:
		m.crossings.Add(1)
		m.Pressure.Set(m.Cause, Shed)
		m.Log.Warn("over the high-water mark: what would be stored, and clients who come, are refused",
			"of", m.Cause.String(), "bytes", r.Used, "mark", r.High)
	case over && (r.High == 0 || r.Used < r.Back):
		m.Pressure.Set(m.Cause, None)
		m.Log.Info("below the high-water mark again", "of", m.Cause.String(), "bytes", r.Used, "mark", r.High)
	}
}

// Stats is what was read last, and how often the mark was crossed; to any goroutine.
func (m *Mark) Stats() (used, high, crossings int64) {
	return m.used.Load(), m.high.Load(), m.crossings.Load()
}

// LookEvery is how often marks are to be looked at, which takes microseconds.
const LookEvery = 500 * time.Millisecond

// MemoryMark reads the memory that the process has in use of whole bytes, of which so many
// percent are the mark. Of 0 bytes, or with 100 percent, there is none.
func MemoryMark(whole int64, percent int) func() (Reading, error) {
	high := whole / 100 * int64(percent)
	if percent >= 100 {
		high = 0
	}
	return func() (Reading, error) { return Reading{memoryInUse(), high, high - high/20}, nil }
}

// DiskMark reads what is in use of the file system of a directory, of which so many bytes
// are to be free, or a twentieth if that is less.
func DiskMark(dir string, reserve int64) func() (Reading, error) {
	return func() (Reading, error) {
		size, free, err := diskSpace(dir)
		if err != nil {
			return Reading{}, err
		}
		return diskReading(size, free, reserve), nil
	}
}

func diskReading(size, free, reserve int64) Reading {
	r := Reading{Used: size - free}
	if reserve = min(reserve, size/20); reserve > 0 {
		r.High, r.Back = size-reserve, size-reserve-reserve/4
	}
	return r
}
