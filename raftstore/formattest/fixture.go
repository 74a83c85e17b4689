// Package formattest keeps what each version of a format on disk looks like, for
// the tests of the packages that write it.
//
// A fixture is a folder, testdata/formats/v<version> in the owner's package, with
// what a release wrote and a readable dump of what it means. It is made once, with
// the flag -update of the test, and never again: the test has every later release
// read all of them. What a version says more of than before, such as a new command,
// gets a folder of its own, v<version>.<n>.
package formattest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const root = "testdata/formats"

// Make writes a new fixture; one that is there is not touched.
func Make(name string, files map[string][]byte) error {
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("fixture %s is there: it is what releases wrote, and stays; give the format another version, or what is new in it another name (%s.1)", dir, name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Names are the fixtures that there are; one at least.
func Names() ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s is empty", root)
	}
	return names, nil
}

// Read reads a file of a fixture.
func Read(name, file string) ([]byte, error) { return os.ReadFile(filepath.Join(root, name, file)) }

// Files are the files of a fixture that match a pattern, by name.
func Files(name, pattern string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(root, name, pattern))
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	slices.Sort(paths)
	return paths, err
}

// Compare says where a dump of what was read differs from the one that is kept in
// a file of the fixture.
func Compare(name, file string, got []byte) error {
	want, err := Read(name, file)
	if err != nil || bytes.Equal(got, want) {
		return err
	}
	have, kept := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(have), len(kept)) {
		var h, k string
		if i < len(have) {
			h = have[i]
		}
		if i < len(kept) {
			k = kept[i]
		}
		if h != k {
			return fmt.Errorf("fixture %s is read as something else than %s says, line %d\n  %s\ninstead of\n  %s", name, file, i+1, h, k)
		}
	}
	return nil
}
