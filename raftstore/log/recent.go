package log

import (
	"unsafe"

	"github.com/hashicorp/raft"
)

// recent holds the last entries of a group up to a number of bytes of memory: a leader
// sends, and a follower applies, what was stored a moment ago.
type recent struct {
	first uint64
	logs  []raft.Log
	bytes int
	limit int
}

// heldSize is what an entry takes here: of a short one most is not its data. What is kept
// with its bytes, and not used, counts.
func heldSize(l *raft.Log) int {
	return int(unsafe.Sizeof(*l)) + cap(l.Data) + cap(l.Extensions)
}

// push adds the newest entry.
func (c *recent) push(l *raft.Log) {
	if l.Index != c.first+uint64(len(c.logs)) {
		c.clear()
	}
	if len(c.logs) == 0 {
		c.first = l.Index
	}
	c.logs = append(c.logs, *l)
	c.bytes += heldSize(l)
	for c.bytes > c.limit {
		c.drop()
	}
}

// drop forgets the oldest entry.
func (c *recent) drop() {
	c.bytes -= heldSize(&c.logs[0])
	c.logs[0] = raft.Log{}
	c.logs = c.logs[1:]
	c.first++
}

// memory is how many bytes the entries take, with the room for more.
func (c *recent) memory() int {
	return c.bytes + (cap(c.logs)-len(c.logs))*int(unsafe.Sizeof(raft.Log{}))
}

// get is entry i, if it is held.
func (c *recent) get(i uint64) (raft.Log, bool) {
	if i < c.first || i-c.first >= uint64(len(c.logs)) {
		return raft.Log{}, false
	}
	return c.logs[i-c.first], true
}

// cutHead forgets the entries below i.
func (c *recent) cutHead(i uint64) {
	for len(c.logs) > 0 && c.first < i {
		c.drop()
	}
}

// cutTail forgets the entries from i on.
func (c *recent) cutTail(i uint64) {
	for len(c.logs) > 0 && c.first+uint64(len(c.logs)) > i {
		last := len(c.logs) - 1
		c.bytes -= heldSize(&c.logs[last])
		c.logs[last] = raft.Log{}
		c.logs = c.logs[:last]
	}
}

func (c *recent) clear() { c.first, c.logs, c.bytes = 0, nil, 0 }
