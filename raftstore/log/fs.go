package log

import (
	"io"
	"os"
	"path/filepath"
)

// FS is the directory that a log lives in. The log is its only user. Beside the
// operating system's directory there is that of package logtest, which forgets
// what was not synced.
type FS interface {
	// Open opens a file for reading and writing; create makes it if there is none.
	Open(name string, create bool) (File, error)
	// List makes the directory durable as it is, and returns the size of each
	// file in it.
	List() (map[string]int64, error)
	// Rename replaces to, and Remove removes, durably.
	Rename(from, to string) error
	Remove(name string) error
}

// File is an open file. Sync returns when all that was written, and what is
// needed to read it back, is on stable storage.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// directory is a directory of the operating system, locked against other
// processes until it is closed.
type directory struct {
	path string
	self *os.File
}

// openDirectory makes path, and its parent know of it, and locks it.
func openDirectory(path string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(path)))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil {
		return nil, err
	}
	self, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := lock(self); err != nil {
		self.Close()
		return nil, err
	}
	return &directory{path: path, self: self}, nil
}

func (d *directory) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d *directory) List() (map[string]int64, error) {
	if err := d.self.Sync(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes, nil
}

func (d *directory) Rename(from, to string) error {
	if err := os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to)); err != nil {
		return err
	}
	return d.self.Sync()
}

func (d *directory) Remove(name string) error {
	if err := os.Remove(filepath.Join(d.path, name)); err != nil {
		return err
	}
	return d.self.Sync()
}

// Close gives the lock up.
func (d *directory) Close() error { return d.self.Close() }

// file is a file of the operating system whose Sync leaves out what is not
// needed to read the data back.
type file struct{ *os.File }

func (f file) Sync() error { return syncData(f.File) }
