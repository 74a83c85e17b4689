package arch

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// floors are the module's folders from the ground up. An import within the
// module points to a lower floor, or stays on its own.
var floors = []string{"proto", "router", "session", "raftstore", "cluster", "node", "cmd", "e2e"}

// floor is the height of a folder, -1 if it is on none.
func floor(folder string) int {
	top, _, _ := strings.Cut(folder, "/")
	return slices.Index(floors, top)
}

// A rule forbids the packages in from to import those in to; why is what the
// failure says. Folders include what lies below them.
type rule struct {
	from   []string
	except []string // of from
	to     []string
	exact  bool // to are packages, what lies below them is free
	why    string
}

func (r rule) forbids(from, to string) bool {
	if !under(from, r.from) || under(from, r.except) {
		return false
	}
	return slices.Contains(r.to, to) || !r.exact && under(to, r.to)
}

// inside are the rules between packages of the module that the floors alone do
// not give.
var inside = []rule{{
	from: []string{"proto/mqtt"}, to: []string{"proto/clusterpb"},
	why: "the wire format of clients does not know that there are nodes",
}, {
	from: []string{"proto/clusterpb"}, to: []string{"proto/mqtt"},
	why: "messages travel between nodes in packed form, not as MQTT packets",
}, {
	from: []string{"node/listen"}, to: []string{"proto", "router", "session", "raftstore", "cluster"},
	why: "an event loop moves bytes; what they mean is its handler's to know",
}, {
	from: []string{"node/listen", "node/config", "node/limit", "node/auth", "node/metrics"},
	to:   []string{"node/broker", "node/admin"},
	why:  "what connections are built upon does not know of them",
}, {
	from: []string{"node/broker"}, to: []string{"node/admin", "node/config", "node/metrics"},
	why: "the broker is given its options and counts for itself; files, HTTP and exposition are above it",
}, {
	from: []string{"cmd"}, to: []string{"raftstore", "cluster"},
	why: "the command line starts a node or talks to one; it does not reach into its parts",
}, {
	from: []string{"e2e"}, to: []string{"router", "session", "raftstore", "cluster", "node", "cmd"},
	why: "what runs real processes sees of them what a client sees",
}}

// outside are the rules for the standard library and for modules of others.
var outside = []rule{{
	from: all, except: []string{"cluster", "proto/clusterpb", "e2e/cases"},
	to:  []string{"google.golang.org/grpc", "google.golang.org/protobuf", "github.com/hashicorp/memberlist"},
	why: "only cluster speaks to other nodes, and a test as a bad one",
}, {
	from: all, except: []string{"raftstore", "cluster"},
	to:  []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "go.etcd.io/bbolt"},
	why: "only raftstore replicates and keeps state, over cluster's transport",
}, {
	from: []string{"proto", "router", "session"}, to: []string{"github.com/prometheus"},
	why: "a pure package returns what is to be counted",
}, {
	from: all, except: []string{"cmd", "e2e"}, to: []string{"github.com/spf13", "flag"},
	why: "flags are read on the command line and nowhere below it",
}, {
	from: all, except: []string{"node/config", "node/auth/acl"}, to: []string{"go.yaml.in", "gopkg.in"},
	why: "one package reads configuration files, and one the rules of access",
}, {
	from: all, except: []string{"node/auth/jwt", "e2e"}, to: []string{"github.com/go-jose"},
	why: "one package judges tokens",
}, {
	from: all, except: []string{"e2e"}, to: []string{"github.com/eclipse", "github.com/gorilla"},
	why: "clients of other makers test Dunlin and are not built into it",
}, {
	from: all, except: []string{"node/nodetest", "cluster/clustertest", "e2e"}, to: []string{"testing"},
	why: "helpers of tests live in packages named after what they test",
}, {
	from: all, to: []string{"log"}, exact: true,
	why: "logging is log/slog through the logger one was given",
}}

// all is every folder.
var all = []string{""}

func under(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return f == "" || path == f || strings.HasPrefix(path, f+"/")
	})
}

// within turns an import path into a folder below the root.
func within(path string) (folder string, ok bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// standard says whether path is of the standard library.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestFloorPlan(t *testing.T) {
	for _, p := range packages(t) {
		if floor(p.folder()) < 0 {
			t.Errorf("%s is on no floor: the top level is %s", p.ImportPath, strings.Join(floors, " "))
			continue
		}
		for _, f := range parse(t, p) {
			for _, finding := range checkImports(p.folder(), f) {
				t.Error(finding)
			}
		}
	}
}

// checkImports holds the imports of a file in folder from to the floors and the
// rules. A test may stand beside anything that is not above it.
func checkImports(from string, f *file) (findings []string) {
	find := func(spec ast.Node, to, why string) {
		findings = append(findings, fmt.Sprintf("%s: %s imports %s: %s", f.at(spec), from, to, why))
	}
	here := floor(from)
	relaxed := f.test && floors[here] != "e2e"
	for path, spec := range f.imports() {
		rules, to := outside, path
		if folder, ok := within(path); ok {
			rules, to = inside, folder
			if there := floor(to); there > here {
				find(spec, to, "an import points down, and "+floors[there]+" is built upon "+floors[here])
			}
		}
		for _, r := range rules {
			if r.forbids(from, to) && !relaxed {
				find(spec, to, r.why)
			}
		}
	}
	return findings
}
