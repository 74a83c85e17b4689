package cluster

import "dunlin/router"

// Held is what this node holds of a member's routes.
type Held struct {
	Identity string        // of the member
	ID       router.NodeID // under which the route table has them
	Version  uint64        // of the member's routes, that was reached
	Whole    bool          // a copy is complete
}

// Held lists what this node holds of the other members' routes.
func (c *Cluster) Held() (all []Held) {
	for _, p := range c.peerList() {
		h := Held{Identity: p.identity, ID: p.id}
		h.Version, h.Whole = p.feedIn.version()
		all = append(all, h)
	}
	return all
}
