package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	for _, step := range []struct {
		stdin string
		args  []string
		code  int
		says  string
	}{
		{"", []string{"list"}, 1, "no such file"},
		{"", []string{"passwd", "ann"}, 1, "no password on standard input"},
		{"secret\n", []string{"passwd", "a:b"}, 2, "a name is UTF-8 without colons"},
		{"secret\n", []string{"passwd"}, 2, "want the user's name"},
		{"secret\n", []string{"passwd", "ann"}, 0, ""},
		{"other", []string{"passwd", "bob"}, 0, ""},
		{"third\r\n", []string{"passwd", "ann"}, 0, ""},
		{"", []string{"list"}, 0, "USER\nann\nbob\n"},
		{"", []string{"list", "-o", "json"}, 0, "[\n  \"ann\",\n  \"bob\"\n]\n"},
		{"", []string{"remove", "eve"}, 1, `there is no user "eve"`},
		{"", []string{"remove", "ann"}, 0, ""},
		{"", []string{"remove", "bob"}, 1, "the only user"},
		{"", []string{"list"}, 0, "USER\nbob\n"},
	} {
		args := append([]string{"user", step.args[0], "--file", file}, step.args[1:]...)
		code, stdout, stderr := dunlin(t, step.stdin, args...)
		if code != step.code || !strings.Contains(stdout+stderr, step.says) || code == 0 && stderr != "" {
			t.Errorf("%v: %d, %s%s", step.args, code, stdout, stderr)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// What a node would not take stays as it was.
	if err := os.WriteFile(file, []byte("nonsense\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := dunlin(t, "secret\n", "user", "passwd", "--file", file, "ann"); code != 1 || !strings.Contains(stderr, "line 1: want name:hash") {
		t.Errorf("%d, %s", code, stderr)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "nonsense\n" {
		t.Errorf("%s, %v", b, err)
	}
}
