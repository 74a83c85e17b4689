package log_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

var crashRuns = flag.Int("crash-runs", 60, "runs of the crash test")

// client is the one user of a group, and knows what the group must hold.
type client struct {
	id    uint16
	rng   *rand.Rand
	busy  float64 // share of its turns in which it does something
	acked state   // what the last call left that returned
	next  state   // what the call under way will leave
	term  uint64

	findings *findings
}

// crasher fails the operations of a disk from the n-th on, as a crash there.
type crasher struct{ left atomic.Int64 }

var errCut = errors.New("cut short")

func (c *crasher) hook(op logtest.Op, _ string) error {
	switch left := c.left.Add(-1); {
	case left > 0:
		return nil
	case left == 0 && op == logtest.OpWrite:
		return errCut // half of it is written
	default:
		return logtest.ErrCrashed
	}
}

// TestCrash crashes at a random operation of the disk while groups are used
// concurrently, again and again on the same disk, by power loss or by a killed
// process, in Open too. Everything acknowledged must be there, and beside it at
// most the call that was under way, whole.
func TestCrash(t *testing.T) {
	for run := range *crashRuns {
		seed := uint64(time.Now().UnixNano()) + uint64(run)
		for _, finding := range crash(seed, func(d *logtest.Disk) log.FS { return d }) {
			t.Errorf("seed %d: %s", seed, finding)
		}
		if t.Failed() {
			return
		}
	}
}

// TestCrashPlanted: a disk that syncs nothing is found out.
func TestCrashPlanted(t *testing.T) {
	for seed := range uint64(100) {
		if len(crash(seed, func(d *logtest.Disk) log.FS { return liar{d} })) > 0 {
			return
		}
	}
	t.Error("nobody noticed that nothing was synced")
}

// liar is a disk whose files say that they were synced.
type liar struct{ log.FS }

type lyingFile struct{ log.File }

func (l liar) Open(name string, create bool) (log.File, error) {
	f, err := l.FS.Open(name, create)
	return lyingFile{f}, err
}

func (lyingFile) Sync() error { return nil }

// findings are what was wrong.
type findings struct {
	mu   sync.Mutex
	list []string
}

func (f *findings) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

// crash is one run; seed decides all but how the goroutines interleave. It
// returns what was wrong.
func crash(seed uint64, mount func(*logtest.Disk) log.FS) []string {
	rng := rand.New(rand.NewPCG(seed, 1))
	clients := []*client{
		{id: 0, busy: 1}, {id: 1, busy: 0.5}, {id: 7, busy: 0.02},
	}
	f := &findings{}
	for _, c := range clients {
		c.rng, c.findings = rand.New(rand.NewPCG(seed, uint64(c.id)+2)), f
	}
	c := &crasher{}
	disk := logtest.NewDisk(c.hook)
	const crashes = 8
	for n := range crashes + 1 {
		c.left.Store(int64(1 + rng.IntN(1+rng.IntN(1000))))
		if n == crashes {
			c.left.Store(1 << 40) // in the end all is well
		}
		o := options(disk)
		o.FS = mount(disk)
		l, err := log.Open("", o)
		if err == nil {
			settled := true
			for _, cl := range clients {
				settled = cl.settle(l) && settled
			}
			if settled {
				work(l, clients)
			}
			l.Close()
		} else if !errors.Is(err, logtest.ErrCrashed) && !errors.Is(err, errCut) {
			f.add("%v", err)
		}
		if len(f.list) > 0 {
			break
		}
		if rng.IntN(2) == 0 {
			disk = disk.Kill(c.hook)
		} else {
			disk = disk.PowerLoss(rng, c.hook)
		}
	}
	return f.list
}

// work lets the clients work until the disk crashes, or for a while.
func work(l *log.Log, clients []*client) {
	var wg sync.WaitGroup
	for _, cl := range clients {
		wg.Go(func() {
			g := l.Group(cl.id)
			for range 400 {
				if cl.rng.Float64() > cl.busy {
					// Its turn is over when another's call is.
					if _, err := g.FirstIndex(); err != nil {
						return
					}
					continue
				}
				if !cl.turn(g) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// settle finds out what became of the call that was under way; false if that
// cannot be said yet.
func (c *client) settle(l *log.Log) bool {
	got, err := read(l.Group(c.id))
	if err != nil {
		if !errors.Is(err, logtest.ErrCrashed) && !errors.Is(err, errCut) {
			c.findings.add("group %d: %v", c.id, err)
		}
		return false
	}
	d := diff(got, c.acked)
	if d != "" && diff(got, c.next) == "" {
		c.acked, d = c.next, ""
	}
	if d != "" {
		c.findings.add("group %d: %s; or: %s", c.id, d, diff(got, c.next))
	}
	c.next = c.acked
	return d == ""
}

// turn makes one call; false if the log has failed.
func (c *client) turn(g *log.Group) bool {
	c.next = state{append([]raft.Log(nil), c.acked.entries...), maps.Clone(c.acked.stable)}
	if c.next.stable == nil {
		c.next.stable = make(map[string]string)
	}
	n := &c.next
	var err error
	count := len(n.entries)
	pick := c.rng.IntN(100)
	switch {
	case pick < 55 || count == 0 && pick < 80:
		first := uint64(1 + c.rng.IntN(5))
		if count > 0 {
			first = n.entries[count-1].Index + 1
			if c.rng.IntN(40) == 0 { // a gap: what was before goes
				first += 1 + uint64(c.rng.IntN(3))
				n.entries = nil
			}
		}
		logs := c.entries(first)
		for _, l := range logs {
			n.entries = append(n.entries, *l)
		}
		err = g.StoreLogs(logs)
	case pick < 65 && count > 0:
		cut := c.rng.IntN(count + 1)
		if cut == 0 {
			return true
		}
		err = g.DeleteRange(n.entries[0].Index-uint64(c.rng.IntN(2)), n.entries[cut-1].Index)
		n.entries = n.entries[cut:]
	case pick < 70 && count > 0:
		cut := c.rng.IntN(count)
		err = g.DeleteRange(n.entries[cut].Index, n.entries[count-1].Index+uint64(c.rng.IntN(2)))
		n.entries = n.entries[:cut]
	case pick < 80:
		key, value := keys[c.rng.IntN(len(keys))], fmt.Sprint(c.rng.Uint64())
		n.stable[key] = value
		err = g.Set([]byte(key), []byte(value))
	case pick == 80:
		*n = state{stable: make(map[string]string)}
		err = g.Remove()
	case count > 0:
		want := n.entries[c.rng.IntN(count)]
		var got raft.Log
		if err = g.GetLog(want.Index, &got); err == nil {
			if d := diff(state{entries: []raft.Log{got}}, state{entries: []raft.Log{want}}); d != "" {
				c.findings.add("group %d: %s", c.id, d)
			}
		}
	}
	if err != nil {
		if !errors.Is(err, log.ErrFailed) {
			c.findings.add("group %d: %v", c.id, err)
		}
		return false
	}
	c.acked = c.next
	return true
}

// entries are a few from first on; one is now and then larger than a segment.
func (c *client) entries(first uint64) []*raft.Log {
	c.term++
	logs := make([]*raft.Log, 1+c.rng.IntN(4))
	for i := range logs {
		size := c.rng.IntN(400)
		if c.rng.IntN(100) == 0 {
			size = 6000
		}
		logs[i] = &raft.Log{Index: first + uint64(i), Term: c.term, Type: raft.LogType(c.rng.IntN(6)), Data: random(c.rng, size)}
		if c.rng.IntN(4) == 0 {
			logs[i].Extensions = random(c.rng, 1+c.rng.IntN(20))
			logs[i].AppendedAt = time.Unix(0, c.rng.Int64())
		}
	}
	return logs
}

func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestNothingLive crashes at each operation in turn while no entry is needed by
// anybody, only stable values, and has the next process do nothing: the values
// must not go with the segments.
func TestNothingLive(t *testing.T) {
	for n := int64(10); n < 260; n++ {
		c := &crasher{}
		c.left.Store(n)
		disk := logtest.NewDisk(c.hook)
		l, err := log.Open("", options(disk))
		if err != nil {
			t.Fatal(err)
		}
		g := l.Group(1)
		if err = g.Set([]byte("vote"), []byte("a")); err != nil {
			continue
		}
		for i := uint64(1); err == nil; i++ {
			e := entries(i, i, 1)
			e[0].Data = make([]byte, 1000)
			if err = g.StoreLogs(e); err == nil {
				err = g.DeleteRange(i, i)
			}
		}
		l.Close()
		for range 2 {
			disk = disk.Kill(nil)
			l = open(t, options(disk))
			if vote, err := l.Group(1).Get([]byte("vote")); string(vote) != "a" || err != nil {
				t.Fatalf("after a crash at operation %d: voted for %q, %v", n, vote, err)
			}
			for range 3 {
				if err := l.Group(1).DeleteRange(1e6, 1e7); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
