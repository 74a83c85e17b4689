package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"dunlin/node/auth/users"
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
		{"secret\n", []string{"passwd", "bob", "--hash=false", "--scram", "none"}, 2, "nothing would be kept"},
		{"secret\n", []string{"passwd", "bob", "--scram", "SCRAM-SHA-1"}, 2, `--scram: "SCRAM-SHA-1" is not allowed`},
		{"secret\n", []string{"passwd", "bob", "--scram-iterations", "1"}, 2, "--scram-iterations: want 4096 to"},
		{"sec\x07ret\n", []string{"passwd", "bob"}, 1, "SCRAM does not take the password"},
		{"sec\x07ret\n", []string{"passwd", "bob", "--scram", "none"}, 0, ""},
		{"", []string{"list"}, 0, "USER\nbob\n"},
	} {
		args := append([]string{"user", step.args[0], "--file", file}, step.args[1:]...)
		code, stdout, stderr := dunlin(t, step.stdin, args...)
		if code != step.code || !strings.Contains(stdout+stderr, step.says) || code == 0 && stderr != "" {
			t.Errorf("%v: %d, %s%s", step.args, code, stdout, stderr)
		}
	}
	for want, flags := range map[string][]string{
		`^bob:\$argon2id\S+ SCRAM-SHA-256\$100000:\S+\n$`:         nil,
		`^bob:\$argon2id\S+\n$`:                                   {"--scram=none"},
		`^bob:SCRAM-SHA-256\$4096:\S+ SCRAM-SHA-512\$4096:\S+\n$`: {"--scram-iterations=4096", "--scram=SCRAM-SHA-512,SCRAM-SHA-256", "--hash=false"},
	} {
		if code, _, stderr := dunlin(t, "secret", append([]string{"user", "passwd", "bob", "--file", file}, flags...)...); code != 0 {
			t.Errorf("%v: %s", flags, stderr)
		}
		if text, err := os.ReadFile(file); err != nil || !regexp.MustCompile(want).Match(text) {
			t.Errorf("%v: %s, want %s", flags, text, want)
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

// Several who change a file at a time lose nothing of one another's.
func TestUsersAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	const record = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	r, err := users.ParseRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for k := range 20 {
		all.Go(func() {
			f := userFile{file}
			if err := f.edit(true, func(text []byte) ([]byte, error) { return users.Put(text, fmt.Sprint("user", k), r) }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f := userFile{file}
	if names, err := f.names(); err != nil || len(names) != 20 {
		t.Errorf("%q, %v", names, err)
	}
}
