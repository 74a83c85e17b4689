package router

// Subscriber is an opaque handle of a subscriber on this node. Zero is nobody.
type Subscriber uint64

// NodeID is a peer's index in this process: small, dense, never reused for
// another peer while its routes stand. Zero is this node.
type NodeID uint16

// ShardID numbers a shard, from 0.
type ShardID uint16

// Options are what a subscription asks for.
type Options struct {
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	ID                uint32 // subscription identifier, 0 for none
}

// Match is one subscriber with what its matching subscriptions together ask
// for: the highest QoS, and retain as published if any of them has it.
type Match struct {
	Subscriber        Subscriber
	QoS               uint8
	RetainAsPublished bool
	ids               [2]uint32 // span in Matches.ids
}

// Matches is the answer for one topic, reused from call to call.
type Matches struct {
	Local  []Match   // each subscriber of this node once
	Nodes  []NodeID  // each node with ordinary subscribers once, this one never
	Shards []ShardID // each shard with ordinary subscribers once
	Groups []*Group  // each share group (group, filter) that matches
	ids    []uint32
}

// IDs returns the subscription identifiers of m, borrowed from ms.
func (ms *Matches) IDs(m Match) []uint32 { return ms.ids[m.ids[0]:m.ids[1]] }

// Table is a node's route table. Match takes no lock and may run beside any
// writer; writers exclude one another.
type Table struct{}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{} }

// Match finds who wants t. Subscriptions with NoLocal of the subscriber from
// are left out. It allocates nothing once ms has grown.
func (tb *Table) Match(t Topic, from Subscriber, ms *Matches) { panic("seam") }

// Subscribe adds or replaces s's subscription to f and says whether it existed.
// The returned version is the table's own version that has the change.
func (tb *Table) Subscribe(f Filter, s Subscriber, o Options) (existed bool, version uint64) {
	panic("seam")
}

// Unsubscribe removes it again and says whether it existed.
func (tb *Table) Unsubscribe(f Filter, s Subscriber) (existed bool, version uint64) { panic("seam") }

// SubscribeShard counts one more subscription to f in shard sh of this node's
// table; the first makes the route. UnsubscribeShard takes one away.
func (tb *Table) SubscribeShard(f Filter, sh ShardID) (version uint64)   { panic("seam") }
func (tb *Table) UnsubscribeShard(f Filter, sh ShardID) (version uint64) { panic("seam") }

// Group is one share group of one filter, over all nodes. Its methods take no
// lock.
type Group struct{}

// Filter is the group's filter, share prefix included.
func (g *Group) Filter() Filter { panic("seam") }

// Pick draws the next member in turn, each member of the cluster as often as
// any other; nth > 0 draws further ones for a message whose first choice had no
// room or is gone. node is 0 for a member here. ok is false when the group is
// empty or all were drawn.
func (g *Group) Pick(nth int) (m Match, id uint32, node NodeID, ok bool) { panic("seam") }

// PickLocal is Pick among this node's members.
func (g *Group) PickLocal(nth int) (m Match, id uint32, ok bool) { panic("seam") }

// Group finds a share group by its filter, nil if nobody is in it.
func (tb *Table) Group(f Filter) *Group { panic("seam") }

// Op is what a Change does.
type Op uint8

const (
	AddExact       Op = 1 + iota // Fingerprint
	RemoveExact                  // Fingerprint
	AddWildcard                  // Filter
	RemoveWildcard               // Filter
	SetGroup                     // Filter with its share prefix; Members on that node, 0 ends it
)

// Change is one step of a node's own routes, as fed to its peers.
type Change struct {
	Op          Op
	Fingerprint uint64 // of an exact filter's text: Topic.Hash
	Filter      string
	Members     uint32
}

// Version numbers this node's own changes; it rises by one with each.
func (tb *Table) Version() uint64 { panic("seam") }

// Changes appends to dst the own changes after version since, oldest first, at
// most max, and the version reached. ok is false when the log no longer
// reaches back to since and a full copy is needed.
func (tb *Table) Changes(since uint64, max int, dst []Change) (out []Change, version uint64, ok bool) {
	panic("seam")
}

// Snapshot calls yield with chunks of changes that rebuild all own routes as of
// the version it returns. A chunk is borrowed.
func (tb *Table) Snapshot(yield func([]Change) bool) (version uint64) { panic("seam") }

// Notify has f called after own changes, from the writer's goroutine; f must
// not block.
func (tb *Table) Notify(f func()) { panic("seam") }

// ApplyRemote applies a peer's changes. BeginRemote and EndRemote bracket a full
// copy: what the copy did not name is gone at the end, what stood before serves
// until then. RemoveRemote forgets a node.
func (tb *Table) ApplyRemote(n NodeID, cs []Change) { panic("seam") }
func (tb *Table) BeginRemote(n NodeID)              { panic("seam") }
func (tb *Table) EndRemote(n NodeID)                { panic("seam") }
func (tb *Table) RemoveRemote(n NodeID)             { panic("seam") }
