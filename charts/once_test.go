package charts

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
)

// there answers the chart's questions for what a cluster has.
type there struct{ client dynamic.Interface }

// cluster is one that has these objects.
func cluster(have ...runtime.Object) *engine.ClientProvider {
	var p engine.ClientProvider = there{fake.NewSimpleDynamicClient(scheme.Scheme, have...)}
	return &p
}

func (c there) GetClientFor(version, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		return nil, false, err
	}
	return c.client.Resource(gv.WithResource(strings.ToLower(kind) + "s")), true, nil
}

// installed is what a cluster has of a release, as far as the chart asks for it.
func installed(t *testing.T, name string, values map[string]any) []runtime.Object {
	t.Helper()
	var have []runtime.Object
	for _, o := range (rendering{release: name}).must(t, values) {
		if o.kind == "StatefulSet" || o.kind == "ConfigMap" {
			u := &unstructured.Unstructured{Object: o.tree}
			u.SetAnnotations(map[string]string{"meta.helm.sh/release-name": name})
			have = append(have, u)
		}
	}
	return have
}

func secret(t *testing.T, all objects, name string) *corev1.Secret {
	t.Helper()
	s := get[*corev1.Secret](t, all, "Secret/"+name)
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	return s
}

// A second key would part the nodes that have the first one from those that start
// after it; so what is there is taken over, for as long as the namespace has it.
func TestSecretsAreMadeOnce(t *testing.T) {
	first := rendering{provider: cluster()}.must(t, valuesOf(t, "minimal"))
	gossip, nodes := secret(t, first, "dunlin-gossip"), secret(t, first, "dunlin-cluster-tls")
	again := rendering{provider: cluster()}.must(t, valuesOf(t, "minimal"))
	if string(secret(t, again, "dunlin-gossip").Data["gossip.key"]) == string(gossip.Data["gossip.key"]) {
		t.Error("two releases are given the same key")
	}
	upgraded := rendering{provider: cluster(gossip, nodes)}.must(t, valuesOf(t, "minimal", "replicaCount=5"))
	for _, s := range []*corev1.Secret{gossip, nodes} {
		if s.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s goes with the release, and the volumes stay", s.Name)
		}
		now := secret(t, upgraded, s.Name)
		for key, value := range s.Data {
			if string(now.Data[key]) != string(value) {
				t.Errorf("an upgrade changes %s of %s", key, s.Name)
			}
		}
	}
}

func TestWhatIsMadeIsGood(t *testing.T) {
	all := rendering{provider: cluster()}.must(t, valuesOf(t, "minimal"))
	key, err := base64.StdEncoding.DecodeString(string(secret(t, all, "dunlin-gossip").Data["gossip.key"]))
	if err != nil || len(key) != 32 {
		t.Errorf("the key of gossip has %d bytes, %v", len(key), err)
	}
	s := secret(t, all, "dunlin-cluster-tls")
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Data["ca.crt"]) {
		t.Fatal("no authority")
	}
	block, _ := pem.Decode(s.Data["tls.crt"])
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("the nodes' certificate: %v", err)
		}
	}
	if leaf.IsCA {
		t.Error("whoever reads a node's key can make nodes")
	}
	for key, o := range all {
		if n := strings.Count(string(o.text), "PRIVATE KEY"); n > 0 {
			t.Errorf("%s has a key in the clear", key)
		}
	}
	for name, value := range s.Data {
		if name != "tls.key" && strings.Contains(string(value), "PRIVATE KEY") {
			t.Errorf("%s is a key", name)
		}
	}
	if len(s.Data) != 3 {
		t.Errorf("the Secret has %d keys: that of the authority is not to be kept", len(s.Data))
	}
}

// Who lowers replicaCount before the nodes are empty takes replicas away.
func TestScaleInHasToBeSaid(t *testing.T) {
	have := installed(t, release, valuesOf(t, "minimal", "replicaCount=5"))
	for _, try := range []struct {
		changes []string
		refusal string // what it says to do
	}{
		{[]string{"replicaCount=3"}, "exec dunlin-0 -- dunlin cluster remove dunlin-4 --wait"},
		{[]string{"replicaCount=3", "allowScaleInTo=4"}, "set it to 0"},
		{[]string{"replicaCount=3", "allowScaleInTo=3"}, ""},
		{[]string{"replicaCount=5"}, ""},
		{[]string{"replicaCount=7"}, ""},
		{[]string{"replicaCount=7", "allowScaleInTo=3"}, "set it to 0"}, // left from the last time
	} {
		switch _, err := (rendering{provider: cluster(have...)}).text(t, valuesOf(t, "minimal", try.changes...)); {
		case try.refusal == "" && err != nil:
			t.Errorf("%v: %v", try.changes, err)
		case try.refusal != "" && (err == nil || !strings.Contains(err.Error(), try.refusal)):
			t.Errorf("%v: the refusal does not say %q: %v", try.changes, try.refusal, err)
		}
	}
}

// What Kubernetes would refuse half-way, or take and part a release from its data, is refused before anything is changed.
func TestWhatAReleaseIsForEver(t *testing.T) {
	other := installed(t, "other", valuesOf(t, "minimal", "persistence.size=1Gi"))
	for change, refusal := range map[string]string{
		"persistence.size=9Gi":                      "persistence.size 9Gi, was 8Gi: ",
		"persistence.size=8192Mi":                   "", // Kubernetes writes 8Gi
		"persistence.size=8.0Gi":                    "",
		"persistence.storageClass=fast":             `persistence.storageClass "fast", was "": `,
		"persistence.accessModes={ReadWriteMany}":   `persistence.accessModes ["ReadWriteMany"], was ["ReadWriteOnce"]: `,
		"persistence.annotations.a=b":               `persistence.annotations {"a":"b"}, was {}: `,
		"persistence.enabled=false":                 "persistence.enabled false: nodes keep what they have where it is",
		"fullnameOverride=other-dunlin":             `"other-dunlin": the nodes of this release are dunlin-0`,
		"nameOverride=mqtt":                         "set fullnameOverride=dunlin",
		"nameOverride=unl":                          "set nameOverride=dunlin",
		"nameOverride=mqtt,fullnameOverride=dunlin": "set nameOverride=dunlin",
		"cluster.id=plant":                          "set cluster.id=dunlin",
		"cluster.id=dunlin":                         "",
		"persistence.retain.whenScaled=Delete":      "",
		"config.limits.max-keepalive=1m":            "",
	} {
		have := append(installed(t, release, valuesOf(t, "minimal")), other...)
		_, err := rendering{provider: cluster(have...)}.text(t, valuesOf(t, "minimal", change))
		switch {
		case refusal == "" && err != nil:
			t.Errorf("%s: %v", change, err)
		case refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)):
			t.Errorf("%s: the refusal does not say %q: %v", change, refusal, err)
		}
	}
	one := installed(t, release, valuesOf(t, "minimal", "replicaCount=1", "podManagementPolicy=OrderedReady"))
	_, err := rendering{provider: cluster(one...)}.text(t, valuesOf(t, "minimal", "replicaCount=3"))
	if err == nil || !strings.Contains(err.Error(), "podManagementPolicy Parallel, was OrderedReady: ") {
		t.Errorf("one node in order becomes three at once: %v", err)
	}
}

// Under Kubernetes a pod that is wrong before the cluster has formed stays: the next one waits for it. NOTES know.
func TestNotes(t *testing.T) {
	notes := func(name string, have ...runtime.Object) string {
		texts, err := rendering{provider: cluster(have...)}.text(t, valuesOf(t, name))
		if err != nil {
			t.Fatal(err)
		}
		text := texts["dunlin/templates/NOTES.txt"]
		if strings.Contains(text, "\n\n\n") {
			t.Errorf("%s: a gap in\n%s", name, text)
		}
		return text
	}
	if text := notes("minimal"); strings.Contains(text, "Pods wait") || strings.Contains(text, "no node is ready") {
		t.Errorf("nothing is wanted of anybody:\n%s", text)
	}
	text := notes("everything")
	for _, want := range []string{
		"Secret given-tls: tls.crt, tls.key\n", "Secret given-ca: ca.crt\n", "Secret given-admin: tls.crt, tls.key\n", "Secret given-tokens: tokens\n",
		"Secret given-users: users\n", "ConfigMap given-rules: rules.yaml\n", "Secret given-gossip: gossip.key\n", "Secret given-cluster: tls.crt, tls.key, ca.crt\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("it does not say once that pods wait for %q:\n%s", want, text)
		}
	}
	for ready, warned := range map[int64]bool{0: true, 1: false} {
		have := installed(t, release, valuesOf(t, "minimal"))
		for _, o := range have {
			if u := o.(*unstructured.Unstructured); u.GetKind() == "StatefulSet" {
				u.Object["status"] = map[string]any{"replicas": int64(3), "readyReplicas": ready}
			}
		}
		if strings.Contains(notes("minimal", have...), "delete pod --selector app.kubernetes.io/name=dunlin,app.kubernetes.io/instance=dunlin\n") != warned {
			t.Errorf("with %d nodes ready it is said that none is: %v", ready, !warned)
		}
	}
}
