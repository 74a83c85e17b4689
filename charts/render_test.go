package charts

import (
	"bytes"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/strvals"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	release   = "dunlin"
	namespace = "mqtt"
)

// load reads the chart.
func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load("dunlin")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// files are the names of the values in testdata.
func files(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatalf("values in testdata: %v, %v", paths, err)
	}
	var names []string
	for _, p := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(p), ".yaml"))
	}
	return names
}

// valuesOf reads values of testdata and then changes, as --set gives them.
func valuesOf(t *testing.T, name string, changes ...string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "values", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]any)
	if err := yaml.Unmarshal(bytes.ReplaceAll(b, []byte("@hash@"), []byte(hash)), &values); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if err := strvals.ParseInto(c, values); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	}
	return values
}

// rendering is how a chart is rendered.
type rendering struct {
	chart    *chart.Chart           // nil: as it is
	release  string                 // "" for that of the tests
	kube     string                 // version of Kubernetes, "" for the latest
	apis     []string               // that the cluster has besides Kubernetes' own
	provider *engine.ClientProvider // of what is there already; nil for none
}

// text renders as helm install does.
func (r rendering) text(t *testing.T, values map[string]any) (map[string]string, error) {
	t.Helper()
	c := r.chart
	if c == nil {
		c = load(t)
	}
	caps := chartutil.DefaultCapabilities.Copy()
	v, err := chartutil.ParseKubeVersion(first(r.kube, "v"+latest))
	if err != nil {
		t.Fatal(err)
	}
	caps.KubeVersion = *v
	caps.APIVersions = slices.Concat(caps.APIVersions, r.apis)
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: first(r.release, release), Namespace: namespace, Revision: 1, IsInstall: true}, caps)
	if err != nil {
		return nil, err
	}
	if r.provider != nil {
		return engine.RenderWithClientProvider(c, all, *r.provider)
	}
	return engine.Render(c, all)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// objects are what was rendered, by kind and name.
type objects map[string]*object

type object struct {
	kind, name string
	text       []byte
	tree       map[string]any
	typed      runtime.Object // nil for kinds that are not Kubernetes' own
}

var separator = regexp.MustCompile(`(?m)^---[ \t]*$`)

// must renders values that are right.
func (r rendering) must(t *testing.T, values map[string]any) objects {
	t.Helper()
	texts, err := r.text(t, values)
	if err != nil {
		t.Fatal(err)
	}
	all := make(objects)
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		if !strings.HasSuffix(file, ".yaml") {
			continue
		}
		for _, doc := range separator.Split(texts[file], -1) {
			o := parse(t, file, []byte(doc), first(r.kube, "v"+latest))
			if o == nil {
				continue
			}
			if key := o.kind + "/" + o.name; all[key] != nil {
				t.Errorf("%s stands twice", key)
			} else {
				all[key] = o
			}
		}
	}
	return all
}

// strict refuses what the API server would: fields that do not exist, or twice, or
// of another type.
var strict = serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
	serializer.SerializerOptions{Yaml: true, Strict: true})

func parse(t *testing.T, file string, doc []byte, kube string) *object {
	t.Helper()
	o := &object{text: doc}
	if err := yaml.UnmarshalStrict(doc, &o.tree); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, doc)
	}
	if len(o.tree) == 0 {
		return nil
	}
	version, _ := o.tree["apiVersion"].(string)
	o.kind, _ = o.tree["kind"].(string)
	meta, _ := o.tree["metadata"].(map[string]any)
	o.name, _ = meta["name"].(string)
	if version == "" || o.kind == "" || o.name == "" {
		t.Fatalf("%s: no kind or no name:\n%s", file, doc)
	}
	if meta["namespace"] != namespace {
		t.Errorf("%s %s is in namespace %v", o.kind, o.name, meta["namespace"])
	}
	err := conforms(kube, doc)
	if err == nil && scheme.Scheme.Recognizes(schema.FromAPIVersionAndKind(version, o.kind)) {
		o.typed, _, err = strict.Decode(doc, nil, nil)
	}
	if err != nil {
		t.Errorf("%s: %s %s: %v", file, o.kind, o.name, err)
	}
	return o
}

func get[T runtime.Object](t *testing.T, all objects, key string) T {
	t.Helper()
	o := all[key]
	if o == nil {
		t.Fatalf("no %s; there are %v", key, slices.Sorted(maps.Keys(all)))
	}
	v, ok := o.typed.(T)
	if !ok {
		t.Fatalf("%s is %T", key, o.typed)
	}
	return v
}

// statefulSet is the one of a release.
func statefulSet(t *testing.T, all objects) *appsv1.StatefulSet {
	t.Helper()
	for key := range all {
		if strings.HasPrefix(key, "StatefulSet/") {
			return get[*appsv1.StatefulSet](t, all, key)
		}
	}
	t.Fatal("no StatefulSet")
	return nil
}

func configMap(t *testing.T, all objects, name string) *corev1.ConfigMap {
	t.Helper()
	return get[*corev1.ConfigMap](t, all, "ConfigMap/"+name)
}

// at follows keys into a tree.
func at(tree any, keys ...string) any {
	for _, k := range keys {
		m, _ := tree.(map[string]any)
		tree = m[k]
	}
	return tree
}

// helm lint --strict.
func TestLint(t *testing.T) {
	log.SetOutput(io.Discard) // the linter tells of each fail that it passes over
	defer log.SetOutput(os.Stderr)
	check := func(name string, values map[string]any) {
		for _, m := range lint.All("dunlin", values, namespace, true).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
	check("defaults", nil)
	for _, name := range files(t) {
		check(name, valuesOf(t, name))
	}
}
