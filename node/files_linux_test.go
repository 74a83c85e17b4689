package node

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The table of descriptors is long before there are clients, for whose loops it would
// otherwise be made longer (case 37).
func TestGrowFiles(t *testing.T) {
	growFiles()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "FDSize:")
	var size uint64
	if _, err := fmt.Sscan(after, &size); err != nil || size < min(openFiles(), readyFiles) {
		t.Errorf("room for %d descriptors, %v", size, err)
	}
}
