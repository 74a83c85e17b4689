package charts

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/resource"
	"github.com/yannh/kubeconform/pkg/validator"
	"helm.sh/helm/v3/pkg/chartutil"
)

// The releases of Kubernetes that there are schemas of: which of their own, and those of others' kinds beside them.
const (
	oldest = "1.29.6"
	latest = "1.37.2"
)

// conformity has kubeconform's judge for each of them, which keeps the schemas that it has read.
var conformity = func() map[string]validator.Validator {
	judges := make(map[string]validator.Validator)
	for _, version := range []string{oldest, latest} {
		v, err := validator.New([]string{
			"testdata/schemas/{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json",
			"testdata/schemas/others/{{.ResourceKind}}{{.KindSuffix}}.json",
		}, validator.Opts{KubernetesVersion: version, Strict: true})
		if err != nil {
			panic(err)
		}
		judges[version] = v
	}
	return judges
}()

// conforms is nil if a document is what its kind's schema wants, of a release of Kubernetes or, if it is older, the oldest that
// there are schemas of. A kind without a schema is an error.
func conforms(kube string, doc []byte) error {
	version := oldest
	if chartutil.IsCompatibleRange(">="+latest, kube) {
		version = latest
	}
	r := conformity[version].ValidateResource(resource.Resource{Bytes: doc})
	if r.Status == validator.Valid {
		return nil
	}
	return fmt.Errorf("for Kubernetes %s: %w", version, r.Err)
}

// A route is of the version that the cluster has: since 1.6 the Gateway API has it as v1, and v1alpha2 no more.
func TestRoutesOfTheGatewayAPI(t *testing.T) {
	for version, apis := range map[string][]string{
		"v1alpha2": {"gateway.networking.k8s.io/v1alpha2/TCPRoute", "gateway.networking.k8s.io/v1"},
		"v1":       {"gateway.networking.k8s.io/v1/TCPRoute"},
	} {
		route := rendering{apis: apis}.must(t, valuesOf(t, "everything"))["TCPRoute/plant-seven"]
		if got := at(route.tree, "apiVersion"); got != "gateway.networking.k8s.io/"+version {
			t.Errorf("a cluster that has %v is given a route of %v", apis, got)
		}
	}
}

// What the chart renders for any Kubernetes that it is for is known there; for the latest all tests see to it.
func TestOlderKubernetesKnowsAllOfIt(t *testing.T) {
	for _, name := range files(t) {
		t.Run(name, func(t *testing.T) {
			rendering{kube: "v1.27.3"}.must(t, valuesOf(t, name))
			rendering{kube: "v" + oldest}.must(t, valuesOf(t, name))
		})
	}
}

// Schemas find what the API server would refuse, or drop without a word, in kinds of Kubernetes and of others.
func TestWhatDoesNotConform(t *testing.T) {
	all := make(objects)
	for _, name := range []string{"everything", "certmanager", "users"} {
		for key, o := range (rendering{}).must(t, valuesOf(t, name)) {
			all[key] = o
		}
	}
	type plant struct {
		path  string // keys, and indices of lists
		value any    // nil: what is there goes
		want  string // of the error
	}
	text, number := any("some"), any(7.0)
	plants := map[string][]plant{
		"ConfigMap/plant-seven": {
			{"daata", text, "daata"}, {"data/a", number, "want string"},
		},
		"Secret/dunlin-gossip": {
			{"stringdata", text, "stringdata"}, {"type", number, "want string"},
		},
		"Ingress/plant-seven": {
			{"spec/rule", text, "rule"}, {"spec/rules/0/http/paths/0/pathType", nil, "pathType"}, {"spec/rules/0/host", number, "want string"},
		},
		"NetworkPolicy/plant-seven": {
			{"spec/ingres", text, "ingres"}, {"spec/policyTypes", text, "want array"}, {"spec/ingress/0/ports/0/number", number, "number"},
		},
		"Pod/plant-seven-test": {
			{"spec/containers", nil, "containers"}, {"spec/containers/0/name", nil, "name"}, {"spec/containers/0/arg", text, "arg"},
		},
		"PodDisruptionBudget/plant-seven": {
			{"spec/maxUnavaileble", number, "maxUnavaileble"}, {"spec/maxUnavailable", 1.5, "want integer or string"},
		},
		"Service/plant-seven": {
			{"spec/ports/0/port", nil, "port"}, {"spec/ports/0/port", text, "want integer"}, {"spec/ports/0/nodeport", number, "nodeport"},
			{"metadata/annotation", text, "annotation"}, {"status", map[string]any{}, "status"},
		},
		"ServiceAccount/plant-seven": {
			{"automountServiceAccountToken", text, "want boolean"}, {"autoMountServiceAccountToken", true, "autoMount"},
		},
		"StatefulSet/plant-seven": {
			{"spec/selector", nil, "selector"}, {"spec/replicas", 1.5, "want integer"}, {"spec/template/spec/hostnetwork", true, "hostnetwork"},
			{"spec/template/spec/containers/0/readinessProbe/httpGet/port", nil, "port"}, {"spec/template/spec/containers/0/readinessProbe/periodSeconds", text, "want integer"},
			{"spec/volumeClaimTemplates/0/spec/resources/requests/storage", true, "want number or string"},
		},
		"Certificate/dunlin-tls": {
			{"spec/secretName", nil, "secretName"}, {"spec/issuerRef/name", nil, "name"}, {"spec/dnsName", text, "dnsName"}, {"spec/dnsNames", text, "want array"},
			{"spec/privateKey/algorithm", "ECSDA", "one of"}, {"spec/usages/0", "sign digitally", "one of"}, {"metadata/label", text, "label"},
		},
		"Issuer/dunlin-nodes": {
			{"spec/ca/secretName", nil, "secretName"}, {"spec/ca/secret", text, "secret"}, {"spec/ca", text, "want object"},
		},
		"ServiceMonitor/plant-seven": {
			{"spec/selector", nil, "selector"}, {"spec/endpoints", nil, "endpoints"}, {"spec/endpoint", text, "endpoint"}, {"spec/endpoints/0/interval", "soon", "pattern"},
			{"spec/endpoints/0/tlsConfig/insecureSkipVerify", text, "want boolean"}, {"spec/endpoints/0/tlsConfig/skipVerify", true, "skipVerify"},
		},
		"PrometheusRule/plant-seven": {
			{"spec/groups/0/name", nil, "name"}, {"spec/groups/0/rules/0/expr", nil, "expr"}, {"spec/groups/0/rules/0/fore", "1m", "fore"},
			{"spec/groups/0/rules/0/labels/severity", number, "want string"}, {"spec/groups/0/rules/0/for", "a while", "pattern"},
		},
		"TCPRoute/plant-seven": {
			{"spec/rules", nil, "rules"}, {"spec/parentRefs/0/name", nil, "name"}, {"spec/rules/0/backendRefs/0/port", 70000.0, "maximum"}, {"spec/parentRef", text, "parentRef"},
		},
	}
	seen := make(map[string]bool)
	for key := range all {
		kind, _, _ := strings.Cut(key, "/")
		seen[kind] = true
	}
	for key, some := range plants {
		o := all[key]
		if o == nil {
			t.Errorf("there is no %s", key)
			continue
		}
		delete(seen, o.kind)
		some = append(some, plant{"metadata/name", nil, "name"}, plant{"metadata", nil, "metadata"}, plant{"unknown", text, "unknown"},
			plant{"apiVersion", "example.org/v1", "could not find schema"}, plant{"kind", "Other", "could not find schema"})
		for _, p := range some {
			b, err := json.Marshal(o.tree)
			if err != nil {
				t.Fatal(err)
			}
			var tree map[string]any
			if err := json.Unmarshal(b, &tree); err != nil {
				t.Fatal(err)
			}
			put(t, tree, p.path, p.value)
			if b, err = json.Marshal(tree); err != nil {
				t.Fatal(err)
			}
			for _, kube := range []string{"v" + oldest, "v" + latest} {
				if err := conforms(kube, b); err == nil || !strings.Contains(err.Error(), p.want) {
					t.Errorf("%s with %s=%v: %v, want an error with %q", key, p.path, p.value, err, p.want)
				}
			}
		}
	}
	for kind := range seen {
		t.Errorf("nothing is planted in a %s", kind)
	}
}

// put changes what is at a path of a tree, or takes it away.
func put(t *testing.T, tree map[string]any, path string, value any) {
	t.Helper()
	keys := strings.Split(path, "/")
	last := len(keys) - 1
	var node any = tree
	for i, k := range keys {
		if list, ok := node.([]any); ok {
			var n int
			if _, err := fmt.Sscan(k, &n); err != nil || n >= len(list) {
				t.Fatalf("%s: no %s in a list of %d", path, k, len(list))
			}
			if i == last {
				list[n] = value
				return
			}
			node = list[n]
			continue
		}
		m, ok := node.(map[string]any)
		if !ok {
			t.Fatalf("%s: nothing at %s", path, k)
		}
		switch _, there := m[k]; {
		case i < last:
			node = m[k]
		case value != nil:
			m[k] = value
		case !there:
			t.Fatalf("%s is not there", path)
		default:
			delete(m, k)
		}
	}
}
