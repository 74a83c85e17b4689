package arch

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "dunlin"

// pkg is what go list says of one package of the module.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	GoFiles      []string
	CgoFiles     []string
	IgnoredGo    []string `json:"IgnoredGoFiles"`
	TestGoFiles  []string
	XTestGoFiles []string
}

// folder is where the package lies below the module's root.
func (p *pkg) folder() string {
	folder, _ := within(p.ImportPath)
	return folder
}

// sources are the files that are built into programs, on any system; tests are
// the others.
func (p *pkg) sources() []string {
	var out []string
	for _, f := range append(append(append([]string{}, p.GoFiles...), p.CgoFiles...), p.IgnoredGo...) {
		if !strings.HasSuffix(f, "_test.go") {
			out = append(out, f)
		}
	}
	return out
}

func (p *pkg) tests() []string {
	out := append(append([]string{}, p.TestGoFiles...), p.XTestGoFiles...)
	for _, f := range p.IgnoredGo {
		if strings.HasSuffix(f, "_test.go") {
			out = append(out, f)
		}
	}
	return out
}

// file is a parsed source file.
type file struct {
	name string // below the module's root
	test bool
	fset *token.FileSet
	ast  *ast.File
}

// at is the position of a node, for a failure's text.
func (f *file) at(n ast.Node) string {
	p := f.fset.Position(n.Pos())
	p.Filename = f.name
	return p.String()
}

// imports are the paths that f imports, with where.
func (f *file) imports() map[string]*ast.ImportSpec {
	out := make(map[string]*ast.ImportSpec)
	for _, s := range f.ast.Imports {
		out[strings.Trim(s.Path.Value, `"`)] = s
	}
	return out
}

// root is the module's folder.
var root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
})

var listed = sync.OnceValues(func() ([]*pkg, error) {
	dir, err := root()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var pkgs []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); err == io.EOF {
			return pkgs, nil
		} else if err != nil {
			return nil, err
		}
		pkgs = append(pkgs, p)
	}
})

// packages lists every package of the module.
func packages(t *testing.T) []*pkg {
	t.Helper()
	pkgs, err := listed()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list names no package")
	}
	return pkgs
}

// parse reads all of p's files, for whichever system they are.
func parse(t *testing.T, p *pkg) []*file {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	var out []*file
	read := func(name string, test bool) {
		path := filepath.Join(p.Dir, name)
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		below, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &file{name: below, test: test, fset: fset, ast: tree})
	}
	for _, f := range p.sources() {
		read(f, false)
	}
	for _, f := range p.tests() {
		read(f, true)
	}
	return out
}
