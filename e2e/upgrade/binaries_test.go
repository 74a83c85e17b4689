package upgrade

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dunlin/e2e/harness"
)

// revisionVariable names the commit that TestFromBefore begins with.
const revisionVariable = "UPGRADE_FROM"

// before is the program as it was at an earlier commit.
func before(t *testing.T) (bin, commit string) {
	t.Helper()
	root := harness.Root(t)
	rev, wanted := os.LookupEnv(revisionVariable)
	if rev == "" {
		rev, wanted = "HEAD~1", false
	}
	out, err := command(root, "git", "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	switch {
	case err != nil && wanted:
		t.Fatalf("%s is %q, which is no commit of this repository: %v: %s", revisionVariable, rev, err, out)
	case err != nil:
		t.Skipf("left out for want of history: there is no %s here, as in a shallow clone or without git: %v: %s", rev, err, out)
	}
	commit = strings.TrimSpace(out)
	source, bin := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "dunlin-before")
	archive := source + ".tar"
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][]string{{"git", "archive", "-o", archive, commit}, {"tar", "-xf", archive, "-C", source}} {
		if out, err := command(root, step[0], step[1:]...); err != nil {
			t.Fatalf("%v: %v: %s", step, err, out)
		}
	}
	if out, err := build(source, bin); err != nil {
		if !wanted && unreachable.MatchString(out) {
			t.Skipf("left out: modules that commit %s needs cannot be had here: %s", commit, out)
		}
		t.Fatalf("build of commit %s: %v: %s", commit, err, out)
	}
	return bin, commit[:12]
}

// unreachable is what the go command says of modules that it has no way to.
var unreachable = regexp.MustCompile(`dial tcp|no such host|module lookup disabled|i/o timeout|connection refused`)

// next is this program, but for a level above those that there are.
func next(t *testing.T) (bin string) {
	t.Helper()
	root, dir := harness.Root(t), t.TempDir()
	path := filepath.Join(root, "raftstore", "level", "level.go")
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raised := newest.ReplaceAll(source, []byte("${0} + 1"))
	if bytes.Equal(raised, source) {
		t.Fatalf("%s does not say which level is the newest as it did", path)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: filepath.Join(dir, "level.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"level.go": raised, "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin = filepath.Join(dir, "dunlin-next")
	if out, err := build(root, bin, "-overlay", filepath.Join(dir, "overlay.json")); err != nil {
		t.Fatalf("build of the next release: %v: %s", err, out)
	}
	return bin
}

var newest = regexp.MustCompile(`(?m)^const Newest = \w+`)

// build builds as `make build` does, so that what that has compiled need not be again.
func build(dir, bin string, flags ...string) (out string, err error) {
	args := append([]string{"build", "-trimpath", "-o", bin}, flags...)
	return command(dir, "env", append([]string{"CGO_ENABLED=0", "go"}, append(args, "./cmd/dunlin")...)...)
}

func command(dir, name string, args ...string) (out string, err error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	return string(b), err
}
