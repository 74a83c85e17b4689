package main

import (
	"bytes"
	"context"
	"errors"
	"io"
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

// What goes to standard output is whole, or nothing: a pipe cannot take half a backup
// back.
func TestStreamedFileIsWholeOrNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	write := func(fail error) func(*os.File) (int, error) {
		return func(f *os.File) (int, error) {
			n, err := f.WriteString("half")
			if err == nil && fail == nil {
				_, err = f.WriteAt([]byte("w"), 0) // a shard that was tried again
			}
			return n, errors.Join(err, fail)
		}
	}
	var out bytes.Buffer
	if n, err := writeStream(t.Context(), &out, write(nil)); n != 4 || err != nil || out.String() != "walf" {
		t.Errorf("%d bytes, %q, %v", n, out.String(), err)
	}
	out.Reset()
	if _, err := writeStream(t.Context(), &out, write(errors.New("lost"))); err == nil || out.Len() > 0 {
		t.Errorf("after an error %q comes out, %v", out.String(), err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := writeStream(ctx, &out, write(nil)); err == nil || out.Len() > 0 {
		t.Errorf("interrupted, %q comes out, %v", out.String(), err)
	}
	f, err := openBackup(stream, strings.NewReader("a backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); string(b) != "a backup" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
