package log_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// FuzzRecover opens logs whose only segment, or whose second one, is arbitrary,
// with wrong checksums or with right ones. It is refused or it works, and takes
// memory in proportion.
func FuzzRecover(f *testing.F) {
	disk, _ := written(f)
	first := disk.Read("00000001.log")
	for _, seed := range [][]byte{nil, first[:100], first[:1000], first, disk.Read("00000002.log"), disk.Read("00000003.log")} {
		f.Add(seed, true, false)
		f.Add(seed, true, true)
		f.Add(seed, false, false)
	}
	f.Fuzz(func(t *testing.T, content []byte, mend, second bool) {
		if len(content) > 64<<10 {
			return
		}
		disk := logtest.NewDisk(nil)
		name := "00000001.log"
		if second {
			disk.Put(name, first)
			name = "00000002.log"
		}
		if mend {
			content = log.Mend(name, content)
		}
		disk.Put(name, content)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l, err := log.Open("", options(disk))
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20+64*uint64(len(content)) {
			t.Errorf("%d bytes took %d bytes of memory", len(content), grown)
		}
		if err != nil {
			return
		}
		defer l.Close()
		for _, id := range l.Groups() {
			g := l.Group(id)
			if first, _ := g.FirstIndex(); first > 0 {
				if err := g.GetLog(first, new(raft.Log)); err != nil {
					t.Errorf("group %d, entry %d: %v", id, first, err)
				}
			}
			last, _ := g.LastIndex()
			if err := g.StoreLogs(entries(last+1, last+1, 1)); err != nil && !errors.Is(err, log.ErrTooLarge) {
				t.Error(err)
			}
		}
	})
}
