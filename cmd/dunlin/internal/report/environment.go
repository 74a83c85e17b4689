package report

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Environment is the machine that the load came from.
type Environment struct {
	System     string `json:"system"` // operating system and architecture
	Kernel     string `json:"kernel,omitempty"`
	Processor  string `json:"processor,omitempty"`
	Processors int    `json:"processors"` // that this process may use
	Memory     uint64 `json:"memory_bytes,omitempty"`
	Go         string `json:"go"`
}

// ThisMachine describes the machine; what it does not tell stays empty.
func ThisMachine() Environment {
	e := Environment{
		System: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), Go: runtime.Version(),
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		e.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		e.Processor = processor(string(b))
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		e.Memory = total(string(b))
	}
	return e
}

// processor is the model that /proc/cpuinfo names.
func processor(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// total is the memory that /proc/meminfo names, in bytes.
func total(meminfo string) uint64 {
	for line := range strings.Lines(meminfo) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(words[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
