package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Main is what a test package's TestMain calls: it runs the tests and removes
// what Binary has built.
func Main(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// built is the folder that holds a binary of this process's own.
var built string

// Binary is the dunlin that is tested: the one that DUNLIN_BIN names, or one
// built now, once per test process.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("DUNLIN_BIN"); path != "" {
		return filepath.Abs(path)
	}
	root, err := root()
	if err != nil {
		return "", err
	}
	if built, err = os.MkdirTemp("", "dunlin-e2e-"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "dunlin")
	build := exec.Command("go", "build", "-o", path, "./cmd/dunlin")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("harness: build dunlin: %w\n%s", err, out)
	}
	return path, nil
})

// Root is the folder of the module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("harness: find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Tool finds a program of another maker and skips the test, saying what is
// missing, where there is none.
func Tool(t testing.TB, name, debian string) string {
	t.Helper()
	path, ok := FindTool(name)
	if !ok {
		t.Skipf("left out for want of %s (Debian package %s)", name, debian)
	}
	return path
}

// FindTool finds a program, also where Debian puts servers.
func FindTool(name string) (path string, ok bool) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
			return path, true
		}
	}
	return "", false
}
