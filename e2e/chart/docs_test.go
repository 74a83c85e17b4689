package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fence   = regexp.MustCompile("(?ms)^```(\\S*)\n(.*?)^```$")
	named   = regexp.MustCompile(`\A# (\S+\.yaml)\n`)
	forward = regexp.MustCompile(`port-forward \S+ ([0-9]+)\S* &$`)
)

// script is what a page has a reader type: its sh blocks in a row, and the files that
// its yaml blocks with a name are. Who types waits for a forwarded port; a script has to be told.
func script(page string) (commands string, files map[string]string) {
	var out strings.Builder
	files = make(map[string]string)
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		switch name := named.FindStringSubmatch(block[2]); {
		case block[1] == "yaml" && name != nil:
			files[name[1]] = block[2]
		case block[1] == "sh":
			for _, line := range strings.Split(strings.TrimSpace(block[2]), "\n") {
				out.WriteString(line + "\n")
				if port := forward.FindStringSubmatch(line); port != nil {
					out.WriteString("until (exec 3<>/dev/tcp/127.0.0.1/" + port[1] + ") 2>/dev/null; do sleep 0.1; done\n")
				}
			}
		}
	}
	return out.String(), files
}

// Whoever types what docs/kubernetes.md says, from the first command to the last, finds
// that all of it works.
func TestDocumentation(t *testing.T) {
	root := os.Getenv("DUNLIN_ROOT")
	if root == "" {
		t.Skip("DUNLIN_ROOT names no folder of Dunlin's: run make e2e-chart")
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands, files := script(string(page))
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "charts"), filepath.Join(dir, "charts")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euxo", "pipefail", "-c", "trap 'kill $(jobs -p) || true' EXIT\n"+commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	// What is read where it was published, and in the cluster that the backup was restored into.
	if got := strings.Count("\n"+string(out), "\nfrom Kubernetes\n"); got != 2 {
		t.Errorf("the message arrived %d times, want 2", got)
	}
}
