//go:build invariants

package raftstore

import "fmt"

// check verifies the whole state after an entry, while that is affordable.
func (sh *shard) check() {
	if sh.st.sessions.size() > 256 {
		return
	}
	if err := sh.st.check(); err != nil {
		panic(fmt.Sprintf("raftstore: shard %d after command %d: %v", sh.id, sh.st.index, err))
	}
}
