package reload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What is good is taken over, what is not is told of once, and the former stays.
func TestLook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	said := func() string {
		var lines []string
		for line := range strings.Lines(log.String()) {
			_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			lines = append(lines, message)
		}
		log.Reset()
		return strings.Join(lines, "; ")
	}
	var used []string
	source := Source[string]{
		What:   "words",
		Digest: func() Digest { return DigestOf(path) },
		Load: func() (string, error) {
			b, err := os.ReadFile(path)
			if err == nil && strings.HasPrefix(string(b), "bad") {
				err = errors.New(string(b))
			}
			return string(b), err
		},
		Used:     func(s string) { used = append(used, s) },
		Describe: func(s string) []any { return []any{"n", len(s)} },
	}
	if _, err := Open(source, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("opened without its file")
	}
	write("a")
	s, err := Open(source, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		write string
		asked bool
		now   string
		says  string
	}{
		{"a", false, "a", ""},
		{"a", true, "a", `"words are those in use" n=1`},
		{"b", false, "a", ""}, // half written, perhaps
		{"bb", false, "a", ""},
		{"bb", false, "bb", `"words reloaded" n=2`},
		{"bad", false, "bb", ""}, // half written, perhaps
		{"bad", false, "bb", `"words not reloaded, the former ones are kept" error=bad`},
		{"bad", false, "bb", ""},
		{"bad", true, "bb", `"words not reloaded, the former ones are kept" error=bad`},
		{"bad 2", false, "bb", ""},
		{"bb", false, "bb", `"words are those in use" n=2`},
		{"bb", false, "bb", ""},
		{"c", false, "bb", ""},
		{"bb", false, "bb", ""},
		{"c", false, "bb", ""}, // what was seen before does not count
		{"ccc", true, "ccc", `"words reloaded" n=3`},
	} {
		write(step.write)
		soon := s.look(step.asked)
		says := said()
		if s.Now() != step.now || says != step.says {
			t.Errorf("step %d: %q in use, says %s", i, s.Now(), says)
		}
		if unsure := s.Now() != step.write && s.reported == none; soon != unsure && step.write != "bad 2" {
			t.Errorf("step %d: looked at again soon: %v", i, soon)
		}
	}
	if got := strings.Join(used, " "); got != "a bb ccc" {
		t.Errorf("used %s", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.look(false)
	s.look(false)
	if says := said(); s.Now() != "ccc" || !strings.Contains(says, "no such file") {
		t.Errorf("without its file: %q, says %s", s.Now(), says)
	}
}

// What changes while it is read is read again, and never taken over.
func TestChangeWhileReading(t *testing.T) {
	version, changes := byte(0), 0
	var used []byte
	source := Source[byte]{
		What:   "numbers",
		Digest: func() Digest { return Digest{1, version} },
		Load: func() (byte, error) {
			was := version
			if changes > 0 {
				changes--
				version++
			}
			return was, nil
		},
		Used: func(b byte) { used = append(used, b) },
	}
	changes = openTries
	if _, err := Open(source, slog.New(slog.DiscardHandler)); !errors.Is(err, errChanging) {
		t.Errorf("opened what changes: %v", err)
	}
	changes = 1
	s, err := Open(source, slog.New(slog.DiscardHandler))
	if err != nil || s.Now() != 4 {
		t.Fatal(s, err)
	}
	version, changes = 10, 1
	for _, want := range []struct {
		asked, soon bool
		now         byte
	}{{false, true, 4}, {false, true, 4}, {false, true, 4}, {false, false, 11}} {
		if soon := s.look(want.asked); soon != want.soon || s.Now() != want.now {
			t.Errorf("%d in use, looked at again soon: %v", s.Now(), soon)
		}
	}
	version, changes = 20, 1
	if soon := s.look(true); !soon || s.Now() != 11 {
		t.Errorf("%d in use, looked at again soon: %v", s.Now(), soon)
	}
	if string(used) != "\x04\x0b" {
		t.Errorf("used %v", used)
	}
}

// Nobody has to ask for what has changed to be taken over, when it stays as it is.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var version atomic.Int32
		s, err := Open(Source[int32]{
			What: "numbers", Digest: func() Digest { return Digest{1, byte(version.Load())} }, Load: func() (int32, error) { return version.Load(), nil },
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Watch(ctx, 4*time.Second)
		at := func(after time.Duration, want int32) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if s.Now() != want {
				t.Errorf("%d in use, want %d", s.Now(), want)
			}
		}
		version.Store(1)
		at(4*time.Second, 0)
		version.Store(2)
		at(quiet, 0)
		at(quiet, 2)
		version.Store(3)
		s.Refresh()
		at(0, 3)
	})
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path, io.ReadAll); err != nil || string(b) != "text" {
		t.Errorf("%s, %v", b, err)
	}
	for path, want := range map[string]string{dir: "is a directory", dir + "/none": "no such file or directory"} {
		if _, err := ReadFile(path, io.ReadAll); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
