package arch

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// home matches paths that exist on somebody's machine only.
var home = regexp.MustCompile(`(?:^|[\s"'` + "`" + `=(:])(/(?:work|root|Users|home/[a-z0-9_-]+)/[^\s"']*)`)

// TestNoMachinePaths: what is in the repository means the same on every machine.
func TestNoMachinePaths(t *testing.T) {
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tracked(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(b, 0) >= 0 {
			continue // not text
		}
		for i, line := range strings.Split(string(b), "\n") {
			if m := home.FindStringSubmatch(line); m != nil {
				t.Errorf("%s:%d: names %s, a path of one machine", name, i+1, m[1])
			}
			if len(dir) > 4 && strings.Contains(line, dir) {
				t.Errorf("%s:%d: names the folder of this checkout", name, i+1)
			}
		}
	}
}

// tracked lists the files of the repository, or all files where there is none.
func tracked(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = dir
	if out, err := cmd.Output(); err == nil {
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	}
	var names []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
