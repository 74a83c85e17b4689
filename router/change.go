package router

// Op is what a Change does.
type Op uint8

const (
	AddExact       Op = 1 + iota // Fingerprint
	RemoveExact                  // Fingerprint
	AddWildcard                  // Filter
	RemoveWildcard               // Filter
	SetGroup                     // Filter with its share prefix; Members on that node, 0 ends it
)

// Change is one step of a node's own routes, as fed to its peers. Each is
// absolute: applied twice, or after later ones that are then applied again, it
// leaves what it leaves when applied once.
type Change struct {
	Op          Op
	Fingerprint uint64 // of an exact filter's text: Topic.Hash
	Filter      string
	Members     uint32
}
