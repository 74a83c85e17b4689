package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Ctrl-C while a file is written leaves nothing of it.
func TestInterruptedFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "nightly.backup")
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := writeFile(ctx, name, func(f *os.File) (int, error) {
		for wrote := 0; ; wrote++ {
			if n, err := f.WriteString("shard"); err != nil {
				return n, err
			}
			if wrote == 10 {
				interrupt()
			}
		}
	})
	if err == nil || !strings.HasPrefix(err.Error(), "interrupted: "+name) {
		t.Errorf("it says %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
