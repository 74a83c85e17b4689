package meta

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind says what records are about, and who knows what their values mean: meta does
// not. It is a short word of small letters.
type Kind string

// The kinds there are. A new one needs nothing here but its name.
const (
	KindUser   Kind = "user"   // who may connect: node/auth/users
	KindToken  Kind = "token"  // who may administer
	KindBan    Kind = "ban"    // who may not connect for a while
	KindRules  Kind = "rules"  // who may publish and subscribe to what: node/auth/acl
	KindSecret Kind = "secret" // what nodes know and nobody else is to: node/decoys.go
	KindDrain  Kind = "drain"  // which nodes clients are to leave: cluster/control
)

// Records are bounded, each and together. The bounds are the same for all kinds, and of
// every release, for replicas that hold to other ones part: who puts records of a kind has
// tighter ones.
const (
	maxKinds      = 16
	maxKindName   = 32        // bytes
	MaxRecords    = 100_000   // of a kind
	MaxRecordName = 1 << 10   // bytes
	MaxRecord     = 256 << 10 // bytes of a value
	maxKindBytes  = 32 << 20  // of all names and values of a kind
)

// Record is a text that the whole cluster has under a name. It is never written.
type Record struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Revision uint64 `json:"revision"` // of the kind, when this was put
}

// Records are all of a kind. They are never written; nil are none.
type Records struct {
	Revision uint64    `json:"revision"` // rises with each change
	List     []*Record `json:"list"`     // by name
	bytes    int       // of names and values
}

// All are the records, by name.
func (r *Records) All() []*Record {
	if r == nil {
		return nil
	}
	return r.List
}

// Find gives the record of a name.
func (r *Records) Find(name string) (Record, bool) {
	if i, found := r.find(name); found {
		return *r.List[i], true
	}
	return Record{}, false
}

func (r *Records) find(name string) (at int, found bool) {
	return slices.BinarySearchFunc(r.All(), name, func(x *Record, name string) int { return cmp.Compare(x.Name, name) })
}

// PutRecord gives a record a value, a new record too.
type PutRecord struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`
	Value string `json:"value"`
	// Was, if it is there, is the revision that the record has to have, 0: it must be new.
	Was *uint64 `json:"was,omitempty"`
}

// RemoveRecord takes a record away.
type RemoveRecord struct {
	Kind Kind    `json:"kind"`
	Name string  `json:"name"`
	Was  *uint64 `json:"was,omitempty"` // as in PutRecord
}

// What records are refused with.
var (
	ErrNoRecord = errors.New("meta: no such record")
	ErrChanged  = errors.New("meta: the record has changed, or is there, or is not")
	ErrFull     = errors.New("meta: too many records of the kind, or too large together")
)

// Check says what is wrong with a record by itself: a kind, name or value that no
// cluster takes. The error is ErrInvalid or ErrTooLarge.
func (c *PutRecord) Check() error {
	switch {
	case !validKind(c.Kind):
		return fmt.Errorf("%w: kind %q of a record", ErrInvalid, c.Kind)
	case !validRecordName(c.Name):
		return fmt.Errorf("%w: name %.100q of a record, want 1 to %d bytes of UTF-8 without control characters", ErrInvalid, c.Name, MaxRecordName)
	case !utf8.ValidString(c.Value):
		return fmt.Errorf("%w: the value of a record, want UTF-8", ErrInvalid)
	case len(c.Value) > MaxRecord:
		return fmt.Errorf("%w: a record of %d bytes, want at most %d", ErrTooLarge, len(c.Value), MaxRecord)
	}
	return nil
}

func validKind(k Kind) bool {
	return k != "" && len(k) <= maxKindName && strings.Trim(string(k), "abcdefghijklmnopqrstuvwxyz-") == ""
}

func validRecordName(name string) bool {
	return name != "" && len(name) <= MaxRecordName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

func (c *PutRecord) apply(s *State, res *Result) error {
	if s.Cluster == "" {
		return ErrNotFormed
	}
	if err := c.Check(); err != nil {
		return bare(err)
	}
	old := s.Records[c.Kind]
	at, found := old.find(c.Name)
	if !old.matches(at, found, c.Was) {
		return ErrChanged
	}
	next := old.next()
	r := &Record{Name: c.Name, Value: c.Value, Revision: next.Revision}
	next.bytes += r.size()
	if found {
		next.bytes -= old.List[at].size()
		next.List = slices.Clone(old.List)
		next.List[at] = r
	} else {
		next.List = slices.Concat(old.All()[:at], []*Record{r}, old.All()[at:])
	}
	if len(next.List) > MaxRecords || next.bytes > maxKindBytes || old == nil && len(s.Records) >= maxKinds {
		return ErrFull
	}
	s.setRecords(c.Kind, next)
	res.Revision = next.Revision
	return nil
}

func (c *RemoveRecord) apply(s *State, res *Result) error {
	old := s.Records[c.Kind]
	at, found := old.find(c.Name)
	switch {
	case s.Cluster == "":
		return ErrNotFormed
	case !found:
		return ErrNoRecord
	case !old.matches(at, found, c.Was):
		return ErrChanged
	}
	next := old.next()
	next.bytes -= old.List[at].size()
	next.List = slices.Concat(old.List[:at], old.List[at+1:])
	s.setRecords(c.Kind, next)
	res.Revision = next.Revision
	return nil
}

// bare is the sentinel that err wraps: what a command is refused with goes to other nodes
// by its text.
func bare(err error) error {
	for _, known := range []error{ErrInvalid, ErrTooLarge} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}

// matches says whether what there is of a name is what a command expects.
func (r *Records) matches(at int, found bool, was *uint64) bool {
	switch {
	case was == nil:
		return true
	case *was == 0:
		return !found
	}
	return found && r.List[at].Revision == *was
}

// next is the next revision, whose list is to be given.
func (r *Records) next() *Records {
	if r == nil {
		return &Records{Revision: 1}
	}
	return &Records{Revision: r.Revision + 1, bytes: r.bytes}
}

func (r *Record) size() int { return len(r.Name) + len(r.Value) }

// setRecords replaces those of a kind, in a map that other states share.
func (s *State) setRecords(k Kind, r *Records) {
	all := make(map[Kind]*Records, len(s.Records)+1)
	for other, x := range s.Records {
		all[other] = x
	}
	all[k] = r
	s.Records = all
}

// check verifies the invariants of records.
func (r *Records) check() error {
	if r == nil || len(r.List) > MaxRecords {
		return errors.New("none, or too many")
	}
	n := 0
	for i, x := range r.List {
		switch {
		case x == nil || !validRecordName(x.Name) || x.Revision == 0 || x.Revision > r.Revision:
			return fmt.Errorf("record %d has no good name, or a revision above that of all", i)
		case i > 0 && r.List[i-1].Name >= x.Name:
			return fmt.Errorf("record %d is not in order", i)
		}
		n += x.size()
	}
	if n != r.bytes {
		return fmt.Errorf("%d bytes, counted as %d", n, r.bytes)
	}
	return nil
}

// count counts the bytes of records that were read.
func (r *Records) count() {
	r.bytes = 0
	for _, x := range r.List {
		if x != nil {
			r.bytes += x.size()
		}
	}
}
