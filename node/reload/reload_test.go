package reload

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"bb", false, "bb", `"words reloaded" n=2`},
		{"bad", false, "bb", ""}, // half written, perhaps
		{"bad", false, "bb", `"words not reloaded, the former ones are kept" error=bad`},
		{"bad", false, "bb", ""},
		{"bad", true, "bb", `"words not reloaded, the former ones are kept" error=bad`},
		{"bad 2", false, "bb", ""},
		{"bb", false, "bb", `"words are those in use" n=2`},
		{"bb", false, "bb", ""},
		{"ccc", true, "ccc", `"words reloaded" n=3`},
	} {
		write(step.write)
		s.look(step.asked)
		if says := said(); s.Now() != step.now || says != step.says {
			t.Errorf("step %d: %q in use, says %s", i, s.Now(), says)
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

// What changes while it is read is read again.
func TestChangeWhileReading(t *testing.T) {
	version := byte(0)
	s, err := Open(Source[byte]{
		What:   "numbers",
		Digest: func() Digest { return Digest{1, version} },
		Load: func() (byte, error) {
			was := version
			version = 7
			return was, nil
		},
	}, slog.New(slog.DiscardHandler))
	if err != nil || s.Now() != 0 {
		t.Fatal(s, err)
	}
	s.look(false)
	if s.Now() != 7 {
		t.Errorf("%d in use", s.Now())
	}
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
