package fault

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Damage is a way to spoil a file of a process that is not running.
type Damage struct {
	Name string
	do   func(rnd *rand.Rand, path string, size int64) error
}

// The damages.
var (
	BitFlip = Damage{"bit flip", func(rnd *rand.Rand, path string, size int64) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		var b [1]byte
		at := rnd.Int64N(size)
		if _, err := f.ReadAt(b[:], at); err != nil {
			return err
		}
		b[0] ^= 1 << rnd.IntN(8)
		_, err = f.WriteAt(b[:], at)
		return err
	}}
	Truncation = Damage{"truncation", func(rnd *rand.Rand, path string, size int64) error {
		return os.Truncate(path, rnd.Int64N(size))
	}}
	Missing = Damage{"missing file", func(_ *rand.Rand, path string, _ int64) error { return os.Remove(path) }}
)

// Apply damages one file below dir that has something in it, chosen by rnd, and
// returns its name.
func (d Damage) Apply(rnd *rand.Rand, dir string) (name string, err error) {
	sizes := make(map[string]int64)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > 0 {
			sizes[path] = info.Size()
		}
		return err
	})
	if err != nil {
		return "", err
	}
	var paths []string
	for p := range sizes {
		paths = append(paths, p)
	}
	if len(paths) == 0 {
		return "", fmt.Errorf("fault: %s holds nothing to damage", dir)
	}
	slices.Sort(paths)
	path := paths[rnd.IntN(len(paths))]
	if err := d.do(rnd, path, sizes[path]); err != nil {
		return "", err
	}
	return filepath.Rel(dir, path)
}
