package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// file is written at its end. When it has grown to its largest size it is put aside as
// name.1, the former name.1 as name.2, and so on. The log's goroutine alone uses it.
type file struct {
	path string
	max  int64
	keep int

	f    *os.File // nil: it could not be opened; the next line tries again
	size int64
}

func openFile(path string, most int64, keep int) (*file, error) {
	f := &file{path: path, max: most, keep: keep}
	return f, f.open()
}

func (f *file) open() error {
	to, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := to.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", f.path)
	}
	if err != nil {
		_ = to.Close()
		return err
	}
	f.f, f.size = to, info.Size()
	return nil
}

// Write writes a line whole, or says why not.
func (f *file) Write(b []byte) (int, error) {
	if f.f != nil && f.size > 0 && f.size+int64(len(b)) > f.max {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	if f.f == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	n, err := f.f.Write(b)
	f.size += int64(n)
	return n, err
}

// rotate puts the file aside. If that fails, it goes on with the file that there is.
func (f *file) rotate() error {
	f.close()
	var errs []error
	for i := f.keep; i >= 1; i-- {
		from := f.path
		if i > 1 {
			from = f.aside(i - 1)
		}
		if err := os.Rename(from, f.aside(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if f.keep == 0 {
		errs = append(errs, os.Remove(f.path))
	}
	if err := f.open(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if len(errs) > 0 && f.size > 2*f.max {
		return errors.Join(errs...) // a file that cannot be put aside does not grow for ever
	}
	return nil
}

func (f *file) aside(i int) string { return f.path + "." + strconv.Itoa(i) }

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close() // what was written, was written
		f.f = nil
	}
}
