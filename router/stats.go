package router

// Stats counts what a table holds.
type Stats struct {
	Subscriptions int // of this node's subscribers, share groups included
	Exact         int // patterns without wildcards, of this node or with a group of any
	Wildcards     int // patterns with wildcards, of any node
	Groups        int // share groups, of any node
	Remote        int // exact filters of other nodes and of shards, one for each filter and node
	Own           int // exact filters of this node as peers hold them
	Log           int // own changes that can still be had as such
}

// Stats returns the counts; it takes the writers' lock for an instant.
func (tb *Table) Stats() Stats {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return Stats{
		Subscriptions: tb.mu.subscriptions,
		Exact:         tb.exact.count,
		Wildcards:     tb.wild.count,
		Groups:        tb.groups.count,
		Remote:        int(tb.remote.live.Load()),
		Own:           int(tb.mu.own.live.Load()),
		Log:           tb.mu.log.count,
	}
}
