package limit

import "runtime/metrics"

// memoryInUse is what the process could not do without: what the last garbage collection
// has found in use, stacks, and what the runtime needs itself. Garbage, and memory that is
// free but not given back, is not in it; so it follows what clients have the node hold, not the
// rhythm of collections.
func memoryInUse() int64 {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	used := int64(s[5].Value.Uint64()) // live
	rest := int64(s[0].Value.Uint64())
	for _, x := range s[1:5] {
		rest -= int64(x.Value.Uint64())
	}
	return used + max(rest, 0)
}
