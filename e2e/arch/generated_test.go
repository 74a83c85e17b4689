package arch

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedCode compares generated files with what the pinned generators
// write now.
func TestGeneratedCode(t *testing.T) {
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "./gen", "-check")
	cmd.Dir = filepath.Join(dir, "cmd", "tools")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd, err, out)
	}
}
