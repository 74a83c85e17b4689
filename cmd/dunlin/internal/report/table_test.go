package report

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// samples are runs of each kind, by name.
var samples = map[string]func() *Document{
	"messages": func() *Document { return messages(30, 1) }, "losing": losing, "connections": connections,
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -rewrite writes it anew):\n%s\nwant:\n%s", name, got, want)
	}
}

func TestTable(t *testing.T) {
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := sample().WriteTable(&b, false); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), "\x1b") {
				t.Error("has control sequences")
			}
			golden(t, name+".txt", b.String())
		})
	}
}
