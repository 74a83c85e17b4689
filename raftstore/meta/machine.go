package meta

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
)

// Machine is a replica of meta: a raft.FSM. Raft's goroutine alone writes it.
type Machine struct {
	state      atomic.Pointer[State]
	configured atomic.Uint64 // see Configured
	known      level.Span
	changed    func(*State)
}

// NewMachine makes an empty replica at a node that can work at the levels known. changed,
// if not nil, is called after each entry that changed something, on Raft's goroutine; it may
// not block.
func NewMachine(known level.Span, changed func(*State)) *Machine {
	m := &Machine{known: known, changed: changed}
	m.state.Store(newState())
	return m
}

// State is the latest that this replica knows. It is never written again.
func (m *Machine) State() *State { return m.state.Load() }

// Apply does one command; its Result is what ApplyFuture.Response gives. An
// entry that cannot be read panics, with a level.Error for one that puts a level in
// force that this node does not understand: a replica that went on would part from the
// others.
func (m *Machine) Apply(l *raft.Log) any {
	c, err := Decode(l.Data)
	if err != nil {
		panic(fmt.Sprintf("meta: entry %d: %v", l.Index, err))
	}
	res := Result{Index: l.Index}
	next := m.State().clone()
	if res.Err = c.apply(next, &res); res.Err != nil {
		m.pass(l.Index)
		return res
	}
	if err := m.understands(next); err != nil {
		panic(err)
	}
	next.Index = l.Index
	m.publish(next)
	return res
}

// understands says whether this node can go on from a state. One that is of a level before
// those that it can work at may be on its way to a later one.
func (m *Machine) understands(s *State) error {
	if s.Level > m.known.Newest {
		return &level.Error{Level: s.Level, Known: m.known}
	}
	return nil
}

// StoreConfiguration implements raft.ConfigurationStore, so that State.Index is
// past a configuration that was applied.
func (m *Machine) StoreConfiguration(index uint64, _ raft.Configuration) {
	m.configured.Store(index)
	m.pass(index)
}

// Configured is another index after each configuration of the group that State
// passes: that of the configuration, or of a snapshot that may hold one.
func (m *Machine) Configured() uint64 { return m.configured.Load() }

// pass notes an entry that changed nothing.
func (m *Machine) pass(index uint64) {
	next := *m.State()
	next.Index = index
	m.state.Store(&next)
}

func (m *Machine) publish(next *State) {
	m.state.Store(next)
	if m.changed != nil {
		m.changed(next)
	}
}

// Whole says whether State holds everything that the replica's log held when
// Whole was called, committed or not. A voter that answers for what it promised,
// before a restart or to others, looks here first (E4).
func (m *Machine) Whole(log raft.LogStore) (bool, error) {
	last, err := log.LastIndex()
	if err != nil {
		return false, err
	}
	first, err := log.FirstIndex()
	if err != nil {
		return false, err
	}
	applied := m.State().Index
	for i := last; i > applied && i >= first && i > 0; i-- {
		var l raft.Log
		switch err := log.GetLog(i, &l); {
		case errors.Is(err, raft.ErrLogNotFound):
			return false, nil // cut meanwhile: the next call sees
		case err != nil:
			return false, err
		case l.Type == raft.LogCommand || l.Type == raft.LogConfiguration:
			return false, nil
		}
	}
	return true, nil
}

// A snapshot: version, 1 byte; checksum of the rest, 8 bytes; the state in JSON.
const (
	snapshotVersion = 1
	snapshotHead    = 1 + 8
	maxSnapshot     = 1 << 30
)

// ErrSnapshot says that a snapshot is damaged or of an unknown version.
var ErrSnapshot = errors.New("meta: bad snapshot")

// Snapshot holds on to the state of the moment.
func (m *Machine) Snapshot() (raft.FSMSnapshot, error) { return frozen{m.State()}, nil }

// Restore replaces the state by that of a snapshot.
func (m *Machine) Restore(from io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(from, maxSnapshot))
	if err != nil {
		return err
	}
	if len(b) > 0 && b[0] != snapshotVersion {
		return fmt.Errorf("%w: %w", ErrSnapshot, versionError(b[0], snapshotVersion))
	}
	if len(b) < snapshotHead || binary.BigEndian.Uint64(b[1:]) != xxhash.Sum64(b[snapshotHead:]) {
		return ErrSnapshot
	}
	s := newState()
	if err := unmarshal(b[snapshotHead:], s); err != nil {
		var of State // what else is in it may be what this release does not know
		_ = json.Unmarshal(b[snapshotHead:], &of)
		return fmt.Errorf("%w: %w", ErrSnapshot, cmp.Or(m.understands(&of), err))
	}
	if err := m.understands(s); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s.Nodes == nil || s.Groups == nil || s.Settings == nil {
		return ErrSnapshot
	}
	for _, r := range s.Records {
		if r == nil {
			return ErrSnapshot
		}
		r.count()
	}
	if err := s.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	m.configured.Store(s.Index)
	m.publish(s)
	return nil
}

// Hash is the same for equal states, on every replica.
func (s *State) Hash() uint64 { return xxhash.Sum64(s.encode()) }

func (s *State) encode() []byte {
	b, err := json.Marshal(s) // maps come out sorted
	if err != nil {
		panic("meta: encode: " + err.Error())
	}
	return b
}

type frozen struct{ *State }

// Persist writes the state.
func (f frozen) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(seal(f.encode())); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

// seal makes a snapshot of its body.
func seal(body []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{snapshotVersion}, xxhash.Sum64(body))
	return append(b, body...)
}

// Release has nothing to let go.
func (frozen) Release() {}
