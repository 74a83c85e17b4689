package charts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// hash is of the form of a password's; of none that anybody has.
const hash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// configOf is the file that nodes are started with.
func configOf(t *testing.T, all objects) map[string]any {
	t.Helper()
	var c map[string]any
	text := configMap(t, all, strings.TrimSuffix(statefulSet(t, all).Spec.ServiceName, "-headless")).Data["dunlin.yaml"]
	if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// broker is the program that is configured: the one that DUNLIN_BIN names, or one
// built now.
var broker = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("DUNLIN_BIN"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "dunlin")
	if err != nil {
		return "", err
	}
	built = dir
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/dunlin")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	return filepath.Join(dir, "dunlin"), cmd.Run()
})

// built is the folder of a binary of this process's own.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// given are the Secrets and ConfigMaps that values refer to and others make, by name.
func given(t *testing.T) map[string]map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pair := map[string]string{
		"tls.crt": cert, "ca.crt": cert,
		"tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
	return map[string]map[string]string{
		"given-tls": pair, "given-cluster": pair, "given-ca": pair, "given-admin": pair, "dunlin-tls": pair, "dunlin-cluster-tls": pair,
		"given-gossip": {"gossip.key": base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"given-tokens": {"tokens": "prometheus:read:sha256=" + strings.Repeat("0", 64) + "\n"},
		"given-users":  {"users": "ann:" + hash + "\n"},
		"given-rules":  {"rules.yaml": "rules: [{allow: all, topics: [\"#\"]}]\n"},
	}
}

// mounted lays the files out that the pod of a StatefulSet sees below /etc/dunlin,
// and returns where.
func mounted(t *testing.T, all objects) string {
	t.Helper()
	root, others := t.TempDir(), given(t)
	spec := statefulSet(t, all).Spec.Template.Spec
	volumes := make(map[string]corev1.Volume)
	for _, v := range spec.Volumes {
		volumes[v.Name] = v
	}
	for _, m := range spec.Containers[0].VolumeMounts {
		below, ok := strings.CutPrefix(m.MountPath, "/etc/dunlin/")
		if !ok {
			continue
		}
		var (
			name  string
			items []corev1.KeyToPath
			data  = make(map[string]string)
		)
		switch v := volumes[m.Name]; {
		case v.Secret != nil:
			name, items = v.Secret.SecretName, v.Secret.Items
			if o := all["Secret/"+name]; o != nil {
				for k, b := range get[*corev1.Secret](t, all, "Secret/"+name).Data {
					data[k] = string(b)
				}
			} else {
				data = others[name]
			}
		case v.ConfigMap != nil:
			name, items = v.ConfigMap.Name, v.ConfigMap.Items
			if o := all["ConfigMap/"+name]; o != nil {
				data = configMap(t, all, name).Data
			} else {
				data = others[name]
			}
		}
		if data == nil {
			t.Fatalf("volume %s: nobody makes %s", m.Name, name)
		}
		if items == nil {
			for k := range data {
				items = append(items, corev1.KeyToPath{Key: k, Path: k})
			}
		}
		dir := filepath.Join(root, below)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			content, ok := data[i.Key]
			if !ok {
				t.Fatalf("%s has no key %s", name, i.Key)
			}
			content = strings.ReplaceAll(content, "/etc/dunlin/", root+"/")
			if err := os.WriteFile(filepath.Join(dir, i.Path), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// environment is that of the pod at an address.
func environment(all []corev1.EnvVar, root, ip string) []string {
	values := map[string]string{"status.podIP": ip, "metadata.name": "dunlin-0"}
	var out []string
	for _, e := range all {
		v := e.Value
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			v = values[e.ValueFrom.FieldRef.FieldPath]
		}
		v = strings.ReplaceAll(v, "$(POD_IP)", ip)
		out = append(out, e.Name+"="+strings.ReplaceAll(v, "/etc/dunlin/", root+"/"))
	}
	return out
}

// The broker itself takes what the chart makes of the values: no key that it does not
// know, no file that is not there, no file that it refuses.
func TestTheBrokerTakesTheConfiguration(t *testing.T) {
	bin, err := broker()
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, all objects) {
		root := mounted(t, all)
		container := statefulSet(t, all).Spec.Template.Spec.Containers[0]
		for _, ip := range []string{"10.1.2.3", "fd00::1:3"} {
			show := func(args ...string) []byte {
				t.Helper()
				cmd := exec.Command(bin, args...)
				cmd.Env = environment(container.Env, root, ip)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %v\n%s", args, err, stderr.Bytes())
				}
				return out
			}
			show("config", "check")
			var settings []struct{ Key, Value string }
			if err := json.Unmarshal(show("config", "show", "-o", "json"), &settings); err != nil {
				t.Fatal(err)
			}
			value := make(map[string]string)
			for _, s := range settings {
				value[s.Key] = s.Value
			}
			if value["node-name"] != "dunlin-0" || value["data-dir"] != "/data" || value["http-addr"] != ":18083" {
				t.Errorf("node-name %q, data-dir %q, http-addr %q", value["node-name"], value["data-dir"], value["http-addr"])
			}
			if want := "[" + ip + "]:7947"; value["cluster-addr"] != want {
				t.Errorf("cluster-addr %q, want %q", value["cluster-addr"], want)
			}
			// what probes ask is there without a token, as they ask it
			if scheme := container.ReadinessProbe.HTTPGet.Scheme; !strings.Contains(value["http.open"], "health") || (scheme == corev1.URISchemeHTTPS) != (value["http.tls-cert"] != "") {
				t.Errorf("probes speak %s, http.open is %q and http.tls-cert %q", scheme, value["http.open"], value["http.tls-cert"])
			}
			// where nodes listen is where the pod's ports are
			for _, l := range []string{"mqtt", "mqtts", "ws", "wss"} {
				want := ""
				if port := portOf(container, l); port != "" {
					want = ":" + port
				}
				if a := value[l+"-addr"]; a != want {
					t.Errorf("%s listens at %q, the pod's port is at %q", l, a, want)
				}
			}
		}
	})
}

func portOf(c corev1.Container, name string) string {
	for _, p := range c.Ports {
		if p.Name == name {
			return strconv.Itoa(int(p.ContainerPort))
		}
	}
	return ""
}

// The schema knows which settings are groups of others.
func TestGroupsOfSettings(t *testing.T) {
	bin, err := broker()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "config", "show", "-o", "json")
	cmd.Env = []string{} // without this test's own
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var settings []struct{ Key string }
	if err := json.Unmarshal(out, &settings); err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(load(t).Schema, &schema); err != nil {
		t.Fatal(err)
	}
	groups := at(schema, "properties", "config", "properties").(map[string]any)
	found := make(map[string]bool)
	for _, s := range settings {
		if group, _, below := strings.Cut(s.Key, "."); below {
			found[group] = true
		}
	}
	for group := range found {
		if groups[group] == nil {
			t.Errorf("config.%s may be anything", group)
		}
	}
	if len(found) != len(groups) {
		t.Errorf("there are groups %v, the schema has %v", found, groups)
	}
}
