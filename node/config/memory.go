package config

import (
	"bytes"
	"math"
	"os"
	"strconv"
)

// What queues, and what buffers, may take of memory where nobody says: a quarter of the
// machine's, within these bounds.
const (
	leastMemory     = 64 << 20
	mostQueueMemory = 4 << 30
	mostBuffers     = 16 << 30
)

// queueMemory is the default of limits.queue-memory, and bufferMemory that of
// limits.buffer-memory.
func queueMemory() int64  { return quarter(machineMemory(), mostQueueMemory) }
func bufferMemory() int64 { return quarter(machineMemory(), mostBuffers) }

// quarter is in whole megabytes. A machine of which nothing is known counts as a small
// one.
func quarter(machine, most int64) int64 {
	return min(max(machine/4, leastMemory), most) >> 20 << 20
}

// machineMemory, the default of limits.memory, is how much memory this process can have, in bytes: the machine's,
// or its control group's where that is less; 0 if neither is known.
func machineMemory() int64 {
	least := int64(math.MaxInt64)
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if b, err := os.ReadFile(path); err == nil {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64); err == nil && n > 0 {
				least = min(least, n)
			}
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		least = min(least, memTotal(b))
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

// memTotal reads the first line of /proc/meminfo, as in "MemTotal:  16384 kB".
func memTotal(b []byte) int64 {
	f := bytes.Fields(b)
	if len(f) >= 3 && string(f[0]) == "MemTotal:" && string(f[2]) == "kB" {
		if n, err := strconv.ParseInt(string(f[1]), 10, 53); err == nil {
			return n << 10
		}
	}
	return math.MaxInt64
}
