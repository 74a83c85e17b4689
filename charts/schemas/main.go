// Command schemas writes testdata/schemas: for each kind that the chart makes, a JSON schema as strict as kubeconform wants
// it, out of what the kind's own project publishes. It needs the Go module proxy; the tests need what it wrote alone.
//
//	go -C charts run ./schemas
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const out = "testdata/schemas"

// source is a file of a module, and the kinds that are taken from it, as kubeconform names their files.
type source struct {
	module, version string
	sum             string // of the module, as go.sum has it
	file            string
	kinds           []string
}

// releases of Kubernetes that the chart is held to: the oldest that the proxy has of those that the chart is for, and the latest.
var releases = []source{
	{"k8s.io/kubernetes", "v1.29.6", "h1:jn8kA/oVOAWZOeoorx6xZ4d+KgGp+Evgi90x9bEI/DE=", "api/openapi-spec/swagger.json", own},
	{"k8s.io/kubernetes", "v1.37.2", "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=", "api/openapi-spec/swagger.json", own},
}

var own = []string{
	"configmap-v1", "ingress-networking-v1", "networkpolicy-networking-v1", "pod-v1", "poddisruptionbudget-policy-v1",
	"secret-v1", "service-v1", "serviceaccount-v1", "statefulset-apps-v1",
}

// others have kinds of their own, for clusters that have been given them.
var others = []source{
	{"github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
		"deploy/crds/cert-manager.io_certificates.yaml", []string{"certificate-cert-manager-v1"}},
	{"github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
		"deploy/crds/cert-manager.io_issuers.yaml", []string{"issuer-cert-manager-v1"}},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml", []string{"servicemonitor-monitoring-v1"}},
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml", []string{"prometheusrule-monitoring-v1"}},
	{"sigs.k8s.io/gateway-api", "v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
		"config/crd/standard/gateway.networking.k8s.io_tcproutes.yaml", []string{"tcproute-gateway-v1", "tcproute-gateway-v1alpha2"}},
}

type object = map[string]any

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run() error {
	old, err := filepath.Glob(filepath.Join(out, "*", "*.json"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, r := range releases {
		if err := r.release(); err != nil {
			return fmt.Errorf("%s %s: %w", r.module, r.version, err)
		}
	}
	for _, o := range others {
		if err := o.definition(); err != nil {
			return fmt.Errorf("%s %s: %s: %w", o.module, o.version, o.file, err)
		}
	}
	return nil
}

// read fetches the module and returns the file, if the module is the one that was pinned.
func (s source) read() ([]byte, error) {
	// A module that demands a later Go is not run here, and may be downloaded.
	b, err := exec.Command("go", "mod", "download", "-json", s.module+"@"+s.version).Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(b, &got); jsonErr != nil {
		return nil, errors.Join(err, jsonErr)
	}
	if got.Error != "" {
		return nil, errors.New(got.Error)
	}
	if got.Sum != s.sum {
		return nil, fmt.Errorf("the module's sum is %s, want %s", got.Sum, s.sum)
	}
	return os.ReadFile(filepath.Join(got.Dir, filepath.FromSlash(s.file)))
}

const prefix = "#/definitions/"

// release writes what Kubernetes itself defines: one file of all definitions that the kinds need, and one for each kind that
// leads into it.
func (s source) release() error {
	b, err := s.read()
	if err != nil {
		return err
	}
	var doc struct{ Definitions map[string]object }
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	need := make(map[string]object)
	wanted := slices.Clone(s.kinds)
	for _, name := range slices.Sorted(maps.Keys(doc.Definitions)) {
		definition := doc.Definitions[name]
		of, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(of) != 1 { // options of requests are of all groups
			continue
		}
		g, _ := of[0].(object)
		group, _ := g["group"].(string)
		version, _ := g["version"].(string)
		kind, _ := g["kind"].(string)
		at := slices.Index(wanted, file(group, version, kind))
		if at < 0 {
			continue
		}
		wanted = slices.Delete(wanted, at, at+1)
		properties, _ := definition["properties"].(object)
		delete(properties, "status") // is for Kubernetes to say
		gather(doc.Definitions, name, need)
		top := envelope(group, version, kind)
		top["allOf"] = []any{object{"$ref": "definitions.json" + prefix + name}}
		if err := write(filepath.Join(s.version, file(group, version, kind)), top); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		return fmt.Errorf("it has no %v", wanted)
	}
	// A quantity is read from a number too.
	if q := need["io.k8s.apimachinery.pkg.api.resource.Quantity"]; q != nil {
		q["type"] = []any{"string", "number"}
	}
	all := make(object)
	for name, d := range need {
		all[name] = d
	}
	return write(filepath.Join(s.version, "definitions"), object{"definitions": all})
}

// gather collects a definition and those that it refers to, strict.
func gather(all map[string]object, name string, into map[string]object) {
	if into[name] != nil {
		return
	}
	d, _ := strict(all[name]).(object)
	into[name] = d
	var follow func(v any)
	follow = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				follow(e)
			}
		case object:
			if ref, ok := v["$ref"].(string); ok {
				gather(all, strings.TrimPrefix(ref, prefix), into)
			}
			for _, e := range v {
				follow(e)
			}
		}
	}
	follow(d)
}

// definition writes the kinds of a CustomResourceDefinition.
func (s source) definition() error {
	b, err := s.read()
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema object }
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		return err
	}
	wanted := slices.Clone(s.kinds)
	for _, v := range crd.Spec.Versions {
		name := file(crd.Spec.Group, v.Name, crd.Spec.Names.Kind)
		at := slices.Index(wanted, name)
		if at < 0 {
			continue
		}
		wanted = slices.Delete(wanted, at, at+1)
		schema, _ := strict(v.Schema.OpenAPIV3Schema).(object)
		properties, _ := schema["properties"].(object)
		delete(properties, "status")
		// What it leaves open here is Kubernetes'.
		latest := releases[len(releases)-1].version
		properties["metadata"] = object{"$ref": "../" + latest + "/definitions.json" + prefix + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
		top := envelope(crd.Spec.Group, v.Name, crd.Spec.Names.Kind)
		top["allOf"] = []any{schema}
		if err := write(filepath.Join("others", name), top); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		return fmt.Errorf("it has no %v", wanted)
	}
	return nil
}

// file is kubeconform's name for a kind: {{.ResourceKind}}{{.KindSuffix}}.
func file(group, version, kind string) string {
	name := strings.ToLower(kind)
	if group != "" {
		name += "-" + strings.Split(group, ".")[0]
	}
	return name + "-" + version
}

// envelope is what every object says of itself.
func envelope(group, version, kind string) object {
	api := version
	if group != "" {
		api = group + "/" + version
	}
	return object{
		"$schema":  "http://json-schema.org/draft-04/schema#",
		"required": []any{"apiVersion", "kind", "metadata"},
		"properties": object{
			"apiVersion": object{"enum": []any{api}},
			"kind":       object{"enum": []any{kind}},
			"metadata":   object{"required": []any{"name"}},
		},
	}
}

// formats are the ones that JSON schema does not know, or means otherwise.
var formats = []string{"int32", "int64", "double", "byte", "int-or-string"}

// strict turns a schema of OpenAPI into one of JSON that admits no property which it does not name. Texts for readers and
// rules in a language of their own go.
func strict(schema any) any {
	s, ok := schema.(object)
	if !ok {
		return schema
	}
	o := make(object)
	for key, v := range s {
		switch {
		case key == "description" || key == "default" || key == "nullable" || strings.HasPrefix(key, "x-"):
		case key == "properties" || key == "patternProperties":
			m := make(object)
			below, _ := v.(object)
			for name, p := range below {
				m[name] = strict(p)
			}
			o[key] = m
		case key == "items" || key == "additionalProperties":
			o[key] = strict(v)
		default: // allOf and such say more of what stands beside them, and open nothing
			o[key] = v
		}
	}
	if f, _ := o["format"].(string); slices.Contains(formats, f) {
		delete(o, "format")
		if f == "int-or-string" {
			o["type"] = []any{"string", "integer"}
		}
	}
	if s["x-kubernetes-int-or-string"] == true {
		o["type"] = []any{"string", "integer"}
	}
	if t, one := o["type"].(string); one && s["nullable"] == true {
		o["type"] = []any{t, "null"}
	}
	_, named := o["properties"]
	_, open := o["additionalProperties"]
	if named && !open && s["x-kubernetes-preserve-unknown-fields"] != true {
		o["additionalProperties"] = false
	}
	return o
}

// write puts one definition on a line, so that a later release shows what it changes.
func write(name string, schema object) error {
	path := filepath.Join(out, name+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("{\n")
	for i, key := range slices.Sorted(maps.Keys(schema)) {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "%q:", key)
		m, ok := schema[key].(object)
		if !ok {
			if err := line(&b, schema[key]); err != nil {
				return err
			}
			continue
		}
		b.WriteString("{\n")
		for i, name := range slices.Sorted(maps.Keys(m)) {
			if i > 0 {
				b.WriteString(",\n")
			}
			fmt.Fprintf(&b, "%q:", name)
			if err := line(&b, m[name]); err != nil {
				return err
			}
		}
		b.WriteString("\n}")
	}
	b.WriteString("\n}\n")
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func line(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1)
	return nil
}
