package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"dunlin/raftstore/level"
)

// Command is one of Form, Enter, Admit, Revoke, Rejoin, Leave, Retire, Place, Set,
// SetFactor, Raise, PutRecord, RemoveRecord.
type Command interface {
	// apply changes s, which is the next state, or refuses to; s is thrown away
	// then.
	apply(s *State, res *Result) error
}

// Result is what a command came to.
type Result struct {
	Err        error
	Index      uint64 // of the command's log entry
	Node       uint32 // Enter: the node's number
	Start      uint64 // Enter: the latest start of it
	Generation uint64 // Enter, Rejoin: the generation that is the latest
	Revision   uint64 // PutRecord, RemoveRecord: that of the kind
}

// What Result.Err may be.
var (
	ErrFormed    = errors.New("meta: the cluster was formed already")
	ErrNotFormed = errors.New("meta: the cluster was not formed")
	ErrNoNode    = errors.New("meta: no such node")
	ErrStale     = errors.New("meta: the node has started since: its data are an older copy, or it runs twice")
	ErrHolds     = errors.New("meta: the node holds replicas")
	ErrConflict  = errors.New("meta: the group's placement has changed")
	ErrOver      = errors.New("meta: that generation of the node is over, or revoked")
	ErrNotYet    = errors.New("meta: that generation of the node is not revoked")
	ErrLast      = errors.New("meta: the last node cannot leave")
	ErrInvalid   = errors.New("meta: invalid command")
	ErrTooLarge  = errors.New("meta: too many settings, or too long a value")
	ErrRelease   = errors.New("meta: the node's release cannot work at the level of the cluster")
)

// Form gives an empty cluster its identity, once.
type Form struct {
	Cluster string `json:"cluster"`
	Shards  int    `json:"shards"`
	Factor  int    `json:"factor"`
}

// Enter tells of a start of a node, and gives a new node its number. A node is
// known by its identity; one that was retired comes back as another. Starts are
// counted in the node's own data, so that telling of one twice is telling of it
// once, and a lower one than before is an older copy of them. A new start begins
// a generation: whoever proposes it holds the lock of the node's data directory,
// so that the process before is gone.
//
// From level.NodeRelease on it says what that start runs and what it can work at, and one that
// cannot work at the level in force is refused. Before, there are nodes that do not know these
// fields.
type Enter struct {
	Identity string     `json:"identity"`
	Name     string     `json:"name"`
	Start    uint64     `json:"start"`
	Release  string     `json:"release,omitempty"` // at most MaxRelease bytes
	Levels   level.Span `json:"levels,omitzero"`
}

// MaxRelease is how long the name of a release may be, in bytes.
const MaxRelease = 64

// Admit lets the voters of meta grant leases to a node in that generation (E4). It
// is proposed by the node itself, once it holds all routes and everybody who may
// hold a lease waits for it with what is to come: package cluster/lease.
type Admit struct {
	Node       uint32 `json:"node"`
	Generation uint64 `json:"generation"`
}

// Revoke ends a generation: no voter that has applied it grants the node another
// lease in it, nor is the node admitted in it any more. The latest lease granted
// before may still run. Released says that there is none: the node itself
// proposes it, after it has acknowledged for the last time.
type Revoke struct {
	Node       uint32 `json:"node"`
	Generation uint64 `json:"generation"`
	Released   bool   `json:"released"`
}

// Rejoin begins the next generation of a node after one that was revoked. The node
// proposes it itself, after it has acknowledged for the last time in that one,
// and is to be admitted anew.
type Rejoin struct {
	Node       uint32 `json:"node"`
	Generation uint64 `json:"generation"` // the one that was revoked
}

// Leave has a node emptied; Stays takes that back. One node that does not leave
// there is always.
type Leave struct {
	Node  uint32 `json:"node"`
	Stays bool   `json:"stays"`
}

// Retire forgets a node that holds no replica.
type Retire struct {
	Node uint32 `json:"node"`
}

// Place says where a group's replicas are from now on, if its placement still is
// that of Version.
type Place struct {
	Group    uint16    `json:"group"`
	Version  uint64    `json:"version"`
	Replicas []Replica `json:"replicas"`
}

// Set changes a setting; an empty value deletes it.
type Set struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SetFactor changes the number of replicas wanted of each group.
type SetFactor struct {
	Factor int `json:"factor"`
}

// Raise puts a level in force, for ever: see package level. Starts are the latest starts, by
// number, of all nodes there are, and the processes that these are have said that they can work
// at it. If a node has come or started since, it is ErrConflict: nobody has asked that one.
type Raise struct {
	Level  level.Level       `json:"level"`
	Starts map[uint32]uint64 `json:"starts"`
}

// Settings are bounded, in number and bytes.
const (
	maxSettings     = 4096
	maxSettingBytes = 64 << 10
)

func (c *Form) apply(s *State, _ *Result) error {
	switch {
	case s.Cluster != "":
		return ErrFormed
	case c.Cluster == "" || c.Shards < 1 || c.Shards > 64 || c.Factor < 1:
		return ErrInvalid
	}
	s.Cluster, s.Shards, s.Factor = c.Cluster, c.Shards, c.Factor
	return nil
}

func (c *Enter) apply(s *State, res *Result) error {
	switch {
	case s.Cluster == "":
		return ErrNotFormed
	case c.Identity == "" || c.Start == 0 || len(c.Release) > MaxRelease:
		return ErrInvalid
	case !c.Levels.Holds(s.Level):
		return ErrRelease
	}
	number, known := s.Find(c.Identity)
	if known && c.Start < s.Nodes[number].Start {
		return ErrStale
	}
	if !known {
		s.Numbered++
		number = s.Numbered
	}
	n := s.Nodes[number]
	n.Release, n.Levels = c.Release, c.Levels
	if n.Identity, n.Name = c.Identity, c.Name; n.Start != c.Start {
		n.Start = c.Start
		n.begin()
	}
	s.Nodes[number] = n
	res.Node, res.Start, res.Generation = number, n.Start, n.Generation
	return nil
}

// begin begins a generation.
func (n *Node) begin() {
	n.Generation++
	n.Admitted, n.Revoked, n.Released = false, false, false
}

// change writes to a node that is there.
func (s *State) change(number uint32, f func(n *Node) error) error {
	n, ok := s.Nodes[number]
	if !ok {
		return ErrNoNode
	}
	if err := f(&n); err != nil {
		return err
	}
	s.Nodes[number] = n
	return nil
}

func (c *Admit) apply(s *State, _ *Result) error {
	return s.change(c.Node, func(n *Node) error {
		if n.Generation != c.Generation || n.Revoked {
			return ErrOver
		}
		n.Admitted = true
		return nil
	})
}

func (c *Revoke) apply(s *State, _ *Result) error {
	return s.change(c.Node, func(n *Node) error {
		if n.Generation != c.Generation {
			return ErrOver
		}
		n.Revoked, n.Released = true, n.Released || c.Released
		return nil
	})
}

func (c *Rejoin) apply(s *State, res *Result) error {
	return s.change(c.Node, func(n *Node) error {
		switch {
		case n.Generation != c.Generation:
			return ErrOver
		case !n.Revoked:
			return ErrNotYet
		}
		n.begin()
		res.Node, res.Start, res.Generation = c.Node, n.Start, n.Generation
		return nil
	})
}

func (c *Leave) apply(s *State, _ *Result) error {
	return s.change(c.Node, func(n *Node) error {
		if !c.Stays && !s.staysBeside(c.Node) {
			return ErrLast
		}
		n.Leaving = !c.Stays
		return nil
	})
}

// staysBeside says that another node is there and not leaving.
func (s *State) staysBeside(number uint32) bool {
	for other, n := range s.Nodes {
		if other != number && !n.Leaving {
			return true
		}
	}
	return false
}

func (c *Retire) apply(s *State, _ *Result) error {
	if _, ok := s.Nodes[c.Node]; !ok {
		return ErrNoNode
	}
	if s.Holds(c.Node) {
		return ErrHolds
	}
	delete(s.Nodes, c.Node)
	return nil
}

func (c *Place) apply(s *State, _ *Result) error {
	g := s.Groups[c.Group]
	if s.Cluster == "" {
		return ErrNotFormed
	}
	if g.Version != c.Version {
		return ErrConflict
	}
	for i, r := range c.Replicas {
		if _, ok := s.Nodes[r.Node]; !ok {
			return ErrNoNode
		}
		if slices.ContainsFunc(c.Replicas[:i], func(o Replica) bool { return o.Node == r.Node }) {
			return ErrInvalid
		}
	}
	s.Groups[c.Group] = Group{Version: c.Version + 1, Replicas: c.Replicas}
	return nil
}

func (c *Set) apply(s *State, _ *Result) error {
	_, there := s.Settings[c.Name]
	switch {
	case s.Cluster == "":
		return ErrNotFormed
	case c.Name == "":
		return ErrInvalid
	case c.Value == "":
		delete(s.Settings, c.Name)
		return nil
	case len(c.Name)+len(c.Value) > maxSettingBytes, !there && len(s.Settings) >= maxSettings:
		return ErrTooLarge
	}
	s.Settings[c.Name] = c.Value
	return nil
}

func (c *SetFactor) apply(s *State, _ *Result) error {
	switch {
	case s.Cluster == "":
		return ErrNotFormed
	case c.Factor < 1:
		return ErrInvalid
	}
	s.Factor = c.Factor
	return nil
}

func (c *Raise) apply(s *State, _ *Result) error {
	switch {
	case s.Cluster == "":
		return ErrNotFormed
	case s.InForce(c.Level):
		return nil
	case len(c.Starts) != len(s.Nodes):
		return ErrConflict
	}
	for number, n := range s.Nodes {
		if c.Starts[number] != n.Start || n.Levels != (level.Span{}) && !n.Levels.Holds(c.Level) {
			return ErrConflict
		}
	}
	s.Level = c.Level
	return nil
}

// Commands outlive releases, so that their names stay.
var commands = map[string]func() Command{
	"form":          func() Command { return new(Form) },
	"enter":         func() Command { return new(Enter) },
	"admit":         func() Command { return new(Admit) },
	"revoke":        func() Command { return new(Revoke) },
	"rejoin":        func() Command { return new(Rejoin) },
	"leave":         func() Command { return new(Leave) },
	"retire":        func() Command { return new(Retire) },
	"place":         func() Command { return new(Place) },
	"set":           func() Command { return new(Set) },
	"set-factor":    func() Command { return new(SetFactor) },
	"raise":         func() Command { return new(Raise) },
	"put-record":    func() Command { return new(PutRecord) },
	"remove-record": func() Command { return new(RemoveRecord) },
}

func name(c Command) string {
	switch c.(type) {
	case *Form:
		return "form"
	case *Enter:
		return "enter"
	case *Admit:
		return "admit"
	case *Revoke:
		return "revoke"
	case *Rejoin:
		return "rejoin"
	case *Leave:
		return "leave"
	case *Retire:
		return "retire"
	case *Place:
		return "place"
	case *Set:
		return "set"
	case *SetFactor:
		return "set-factor"
	case *Raise:
		return "raise"
	case *PutRecord:
		return "put-record"
	case *RemoveRecord:
		return "remove-record"
	}
	panic(fmt.Sprintf("meta: unknown command %T", c))
}

// entryVersion is the first byte of a log entry, which holds one command.
const entryVersion = 1

type entry struct {
	Name string          `json:"name"`
	Body json.RawMessage `json:"body"`
}

// Encode makes the log entry of a command.
func Encode(c Command) []byte {
	body, err := json.Marshal(c)
	if err != nil {
		panic("meta: encode: " + err.Error())
	}
	b, err := json.Marshal(entry{name(c), body})
	if err != nil {
		panic("meta: encode: " + err.Error())
	}
	return append([]byte{entryVersion}, b...)
}

// versionError says that a later release, or a much earlier one, wrote what is read.
func versionError(found, known byte) error {
	return fmt.Errorf("format version %d, this release reads %d: start the release that wrote it", found, known)
}

// Decode reads what Encode wrote, and nothing else.
func Decode(b []byte) (Command, error) {
	if len(b) == 0 {
		return nil, errors.New("meta: empty entry")
	}
	if b[0] != entryVersion {
		return nil, fmt.Errorf("meta: entry: %w", versionError(b[0], entryVersion))
	}
	var e entry
	if err := unmarshal(b[1:], &e); err != nil {
		return nil, err
	}
	create, ok := commands[e.Name]
	if !ok {
		return nil, fmt.Errorf("meta: unknown command %q: a later release wrote it, start that one", e.Name)
	}
	c := create()
	return c, unmarshal(e.Body, c)
}

func unmarshal(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("meta: trailing bytes")
	}
	return nil
}
