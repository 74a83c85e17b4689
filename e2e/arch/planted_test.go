package arch

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestPlanted gives each check what it must find: one that has never failed
// proves nothing.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name, folder, source string
		want                 string // a part of the only finding, or "" for none
	}{
		{"upward", "router", `import "dunlin/session"`, "session is built upon router"},
		{"downward", "session", `import "dunlin/router"`, ""},
		{"far upward", "cluster", `import "dunlin/node/broker"`, "node is built upon cluster"},
		{"rule inside", "node/listen", `import "dunlin/proto/mqtt"`, "its handler's to know"},
		{"rule outside", "node/broker", `import "google.golang.org/grpc/codes"`, "only cluster"},
		{"exception", "cluster", `import "google.golang.org/grpc"`, ""},
		{"package alone", "cluster", `import "log"`, "log/slog"},
		{"package below", "cluster", `import "log/slog"`, ""},
		{"own subtree", "node", `import "dunlin/node/broker"`, ""},
		{"file", "session", `import "os"`, "no I/O"},
		{"socket", "router", `import "net"`, "no I/O"},
		{"chance", "router", `import "math/rand/v2"`, "no chance"},
		{"lock in router", "router", `import "sync/atomic"`, ""},
		{"lock in session", "session", `import "sync"`, "shares nothing"},
		{"others", "session", `import "golang.org/x/sys/unix"`, "standard library"},
		{"clock", "session", `import "time"; var t = time.Now()`, "told the time"},
		{"duration", "session", `import "time"; const d = time.Second`, ""},
		{"goroutine", "session", `func f() { go f() }`, "no goroutine"},
		{"channel", "session", `var c chan int`, "waits for nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fset := token.NewFileSet()
			tree, err := parser.ParseFile(fset, "planted.go", "package p; "+c.source, 0)
			if err != nil {
				t.Fatal(err)
			}
			f := &file{name: "planted.go", fset: fset, ast: tree}
			findings := checkImports(c.folder, f)
			if under(c.folder, pure) {
				findings = append(findings, checkPurity(c.folder, f)...)
			}
			switch {
			case c.want == "" && len(findings) > 0:
				t.Errorf("found %q", findings)
			case c.want != "" && (len(findings) != 1 || !strings.Contains(findings[0], c.want)):
				t.Errorf("found %q, want one about %q", findings, c.want)
			}
		})
	}
}
