package arch

import (
	"go/ast"
	"slices"
	"testing"
)

// pure are the packages that are functions of their arguments: the same input
// gives the same output, today and in a test.
var pure = []string{"proto/mqtt", "router", "session", "raftstore/placement", "node/listen/websocket", "node/listen/proxyproto"}

// allowed is what a pure package may use of the standard library. What is not
// here reads a clock, a file, a socket, a source of chance or the environment,
// or nobody has thought about it yet.
var allowed = []string{
	"bytes", "cmp", "crypto/sha1", "encoding/base64", "encoding/binary", "encoding/hex", "errors", "fmt", "hash", "hash/crc32",
	"hash/fnv", "iter", "maps", "math", "math/bits", "net/netip", "slices", "sort", "strconv", "strings", "time", "unicode",
	"unicode/utf8", "unsafe",
}

// concurrent is what router may use beside: its readers take no lock and its
// writers exclude one another. A session has one owner and needs neither. The
// seed of maphash decides where in a table a route lies, so that no client can
// choose that, and never what is found; xxhash is the same everywhere, for ever.
var concurrent = []string{"sync", "sync/atomic", "hash/maphash", "github.com/cespare/xxhash/v2"}

// clock are the names of package time that read or wait for the clock.
var clock = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Timer", "Ticker", "Local", "LoadLocation",
}

func TestPurity(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.folder()) {
			continue
		}
		for _, f := range parse(t, p) {
			if f.test {
				continue
			}
			for _, finding := range checkPurity(p.folder(), f) {
				t.Error(finding)
			}
		}
	}
}

// checkPurity holds a file of the pure package in folder to what pure means.
func checkPurity(folder string, f *file) (findings []string) {
	find := func(n ast.Node, text string) {
		findings = append(findings, f.at(n)+": "+text)
	}
	for path, spec := range f.imports() {
		_, ours := within(path)
		switch {
		case ours:
		case slices.Contains(allowed, path):
		case folder == "router" && slices.Contains(concurrent, path):
		case !standard(path):
			find(spec, folder+" imports "+path+": a pure package needs nothing but the standard library")
		default:
			find(spec, folder+" imports "+path+": a pure package does no I/O, takes no chance and shares nothing")
		}
		if spec.Name != nil && spec.Name.Name == "." {
			find(spec, "a dot import hides what is used")
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			find(n, "a pure package starts no goroutine")
		case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			find(n, "a pure package waits for nobody")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				find(n, "time."+n.Sel.Name+": a pure package is told the time")
			}
		}
		return true
	})
	return findings
}
