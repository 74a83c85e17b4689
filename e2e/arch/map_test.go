package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// What ARCHITECTURE.md names in code style with a slash in it and the ending of a
// file has to be there.
var named = regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)+\\.(?:go|md))`")

func TestArchitectureNamesFilesThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := named.FindAllSubmatch(text, -1)
	if len(names) < 20 {
		t.Errorf("only %d files named; the flows name one for each step", len(names))
	}
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(root, string(n[1]))); err != nil {
			t.Errorf("ARCHITECTURE.md names %s: %v", n[1], err)
		}
	}
}
