//go:build invariants

package router

// checkSometimesLocked checks the table after every write while it is small,
// then ever more rarely, so that the cost per write stays bounded.
func (tb *Table) checkSometimesLocked() {
	tb.mu.writes++
	size := tb.exact.count + tb.wild.count + tb.mu.subscriptions + int(tb.remote.live.Load())
	if tb.mu.writes < size {
		return
	}
	tb.mu.writes = 0
	if err := tb.checkLocked(); err != nil {
		panic("router: " + err.Error())
	}
}
