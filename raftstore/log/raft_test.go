package log_test

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// machine applies what it is given to a list.
type machine struct {
	mu      sync.Mutex
	applied []string
}

func (m *machine) Apply(l *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = append(m.applied, string(l.Data))
	return nil
}

func (m *machine) list() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.applied)
}

func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return snapshot(m.list()), nil }

func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = nil
	for line := range slices.Values(splitLines(b)) {
		m.applied = append(m.applied, line)
	}
	return nil
}

func splitLines(b []byte) (lines []string) {
	for len(b) > 0 {
		i := slices.Index(b, '\n')
		lines = append(lines, string(b[:i]))
		b = b[i+1:]
	}
	return lines
}

type snapshot []string

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	for _, line := range s {
		if _, err := fmt.Fprintln(sink, line); err != nil {
			return err
		}
	}
	return sink.Close()
}

func (s snapshot) Release() {}

// member is one of three nodes, with two groups on one log.
type member struct {
	disk      *logtest.Disk
	log       *log.Log
	rafts     []*raft.Raft
	machines  []*machine
	transport []*raft.InmemTransport
	snapshots []*raft.InmemSnapshotStore
}

const raftGroups = 2

// start starts a member's groups.
func (m *member) start(t *testing.T, name string, bootstrap bool) {
	t.Helper()
	l, err := log.Open("", options(m.disk))
	if err != nil {
		t.Fatal(err)
	}
	m.log, m.rafts, m.machines, m.transport = l, nil, nil, nil
	for id := range raftGroups {
		c := raft.DefaultConfig()
		c.LocalID, c.LogOutput = raft.ServerID(name), io.Discard
		c.TrailingLogs, c.SnapshotThreshold = 10, 1<<40
		_, tr := raft.NewInmemTransport(raft.ServerAddress(name))
		m.machines = append(m.machines, &machine{})
		m.transport = append(m.transport, tr)
		if bootstrap {
			var servers []raft.Server
			for _, n := range memberNames {
				servers = append(servers, raft.Server{ID: raft.ServerID(n), Address: raft.ServerAddress(n)})
			}
			m.snapshots = append(m.snapshots, raft.NewInmemSnapshotStore())
			if err := raft.BootstrapCluster(c, l.Group(uint16(id)), l.Group(uint16(id)), m.snapshots[id], tr,
				raft.Configuration{Servers: servers}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := raft.NewRaft(c, m.machines[id], l.Group(uint16(id)), l.Group(uint16(id)), m.snapshots[id], tr)
		if err != nil {
			t.Fatal(err)
		}
		m.rafts = append(m.rafts, r)
	}
}

// stop stops a member.
func (m *member) stop(t *testing.T) {
	t.Helper()
	for _, r := range m.rafts {
		if err := r.Shutdown().Error(); err != nil {
			t.Error(err)
		}
	}
	if err := m.log.Close(); err != nil {
		t.Error(err)
	}
}

var memberNames = []string{"a", "b", "c"}

// connect lets all members reach one another.
func connect(members []*member) {
	for id := range raftGroups {
		for _, a := range members {
			for i, b := range members {
				if a != b && b.rafts != nil {
					a.transport[id].Connect(raft.ServerAddress(memberNames[i]), b.transport[id])
				}
			}
		}
	}
}

// propose commits data in a group, at whoever leads it.
func propose(t *testing.T, members []*member, group int, data string) {
	t.Helper()
	for range 1000 {
		for _, m := range members {
			if m.rafts != nil && m.rafts[group].State() == raft.Leader {
				if m.rafts[group].Apply([]byte(data), time.Minute).Error() == nil {
					return
				}
			}
		}
		time.Sleep(50 * time.Millisecond) // virtual
	}
	t.Fatal("nobody leads")
}

// TestRaft runs three nodes with two groups each on their logs: they elect,
// commit, take snapshots that cut the log, are restarted together from their
// disks, and one that was away while the log was cut is brought up by snapshot.
func TestRaft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var members []*member
		for _, name := range memberNames {
			m := &member{disk: logtest.NewDisk(nil)}
			m.start(t, name, true)
			members = append(members, m)
		}
		connect(members)
		var want [raftGroups][]string
		commit := func(n int) {
			for range n {
				for id := range raftGroups {
					data := fmt.Sprintf("group %d, number %d", id, len(want[id]))
					propose(t, members, id, data)
					want[id] = append(want[id], data)
				}
			}
		}
		// agree waits until all members that run have applied everything.
		agree := func() {
			t.Helper()
			for id := range raftGroups {
				for i, m := range members {
					if m.rafts == nil {
						continue
					}
					for n := 0; !slices.Equal(m.machines[id].list(), want[id]); n++ {
						if n > 1000 {
							t.Fatalf("group %d of %s applied %d of %d", id, memberNames[i], len(m.machines[id].list()), len(want[id]))
						}
						time.Sleep(50 * time.Millisecond) // virtual
					}
				}
			}
		}
		commit(100)
		agree()

		// All stop and start again, without a snapshot and with one.
		for range 2 {
			for _, m := range members {
				m.stop(t)
				m.disk = m.disk.Kill(nil)
			}
			for i, m := range members {
				m.start(t, memberNames[i], false)
			}
			connect(members)
			commit(20)
			agree()
			for _, m := range members {
				for id, r := range m.rafts {
					if err := r.Snapshot().Error(); err != nil {
						t.Error(err)
					}
					if first, err := m.log.Group(uint16(id)).FirstIndex(); first < 50 || err != nil {
						t.Errorf("the log begins at %d after a snapshot, %v", first, err)
					}
				}
			}
		}

		// One is away while the others cut their logs.
		away := members[2]
		away.stop(t)
		away.rafts = nil
		commit(50)
		for _, m := range members[:2] {
			for _, r := range m.rafts {
				if err := r.Snapshot().Error(); err != nil {
					t.Error(err)
				}
			}
		}
		away.start(t, memberNames[2], false)
		connect(members)
		commit(5)
		agree()
		for _, m := range members {
			m.stop(t)
		}
	})
}
