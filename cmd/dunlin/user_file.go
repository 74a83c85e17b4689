package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"dunlin/node/auth/users"
)

// userFile is the flag --file of the commands on users: a file of users in place of the
// cluster's.
type userFile struct{ path string }

func (f *userFile) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "file", "", "a `file` of users, which auth.users-file names in a configuration, in place of the cluster's")
}

// read returns what is in the file; one that has to be made is empty.
func (f *userFile) read(mayBeNew bool) ([]byte, error) {
	b, err := os.ReadFile(f.path)
	if mayBeNew && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// names are those of the users in the file.
func (f *userFile) names() ([]string, error) {
	text, err := f.read(false)
	if err != nil {
		return nil, err
	}
	all, err := f.check(text)
	if err != nil {
		return nil, err
	}
	return all.Names(), nil
}

// check says whether a node would take the text as the file's.
func (f *userFile) check(text []byte) (*users.Table, error) {
	t, err := users.Read(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return t, nil
}

// edit gives the file the text that change makes of its own. Of several at a time, one waits for
// the other, or what the first has changed would be lost.
func (f *userFile) edit(mayBeNew bool, change func(text []byte) ([]byte, error)) error {
	path, err := filepath.EvalSymlinks(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		path = f.path
	} else if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path)) // the file itself will be another
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	text, err := f.read(mayBeNew)
	if err != nil {
		return err
	}
	if text, err = change(text); err != nil {
		return err
	}
	return f.write(path, text)
}

// write gives the file another text at once, or leaves it as it is. A new file is for
// its owner alone; one that was there keeps owner and mode.
func (f *userFile) write(path string, text []byte) (err error) {
	if _, err := f.check(text); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".users-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	if info, err := os.Stat(path); err == nil {
		if err := tmp.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
		if own, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := tmp.Chown(int(own.Uid), int(own.Gid)); err != nil {
				return err
			}
		}
	}
	if _, err = tmp.Write(text); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return tmp.Close()
}
