package arch

import (
	"go/ast"
	"path"
	"strings"
	"testing"
)

// TestPackageComments holds each package to one comment, which begins with its
// name; that of a program may begin with Command.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		var at []string
		for _, f := range parse(t, p) {
			if f.ast.Doc == nil || f.test && len(p.sources()) > 0 {
				continue
			}
			text := f.ast.Doc.Text()
			at = append(at, f.at(f.ast.Doc))
			want := "Package " + p.Name + " "
			if p.Name == "main" {
				want = "Command " + path.Base(p.ImportPath) + " "
			}
			if !strings.HasPrefix(text, want) {
				t.Errorf("%s: the package comment begins %q, not %q", f.at(f.ast.Doc), firstWords(text), want)
			}
		}
		switch {
		case len(at) == 0:
			t.Errorf("%s has no package comment", p.folder())
		case len(at) > 1:
			t.Errorf("%s has %d package comments: %s", p.folder(), len(at), strings.Join(at, ", "))
		}
	}
}

// wide are interfaces of more than four methods, each with its reason.
var wide = map[string]string{
	"node/listen.Loop":    "a loop is one thing to its handler, and its methods share the loop's goroutine",
	"cluster.Receiver":    "what becomes of a peer and of its frames comes to one place, in one order",
	"node/broker.Shards":  "the store is asked where a thing lies, and told what to do, in one breath",
	"node/listen.driver":  "what differs between epoll and goroutines is one seam",
	"node/listen.Handler": "the events of a connection's life come to one owner, in order",
	"node/listen.Layer":   "both directions of a stream, its begin and its end are one protocol with one state",
}

// TestInterfacesAreSmall: an interface is what its user calls, and who calls
// more than four methods of one thing has more than one use for it.
func TestInterfacesAreSmall(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range parse(t, p) {
			if f.test || ast.IsGenerated(f.ast) {
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				if it, ok := spec.Type.(*ast.InterfaceType); ok {
					methods := 0
					for _, m := range it.Methods.List {
						methods += len(m.Names)
					}
					name := p.folder() + "." + spec.Name.Name
					if methods > 4 && wide[name] == "" {
						t.Errorf("%s: interface %s has %d methods, more than four", f.at(spec), name, methods)
					}
				}
				return true
			})
		}
	}
}

func firstWords(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line[:min(len(line), 40)]
}
