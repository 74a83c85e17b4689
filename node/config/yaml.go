package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads the leaves of a configuration file. name stands in messages.
func parseYAML(name string, b []byte, set []Setting) ([]leaf, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // an empty file says nothing
	} else if err != nil {
		return nil, syntaxError(name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, &Error{Where: name, NoValue: true, Want: "want a single YAML document"}
	}
	w := walker{name: name, byKey: make(map[string]Setting, len(set)), groups: make(map[string]bool)}
	for _, s := range set {
		w.byKey[s.Key] = s
		w.keys = append(w.keys, s.Key)
		for i, r := range s.Key {
			if r == '.' {
				w.groups[s.Key[:i]] = true
			}
		}
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if err := w.mapping("", root); err != nil {
		return nil, err
	}
	return w.leaves, nil
}

// yamlLine finds the line in the messages of the YAML package.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\n *)?line (\d+): `)

func syntaxError(name string, err error) error {
	text := err.Error()
	where := name
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		where += ":" + m[1]
		text = text[len(m[0]):]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	text, _, _ = strings.Cut(text, "\n")
	return &Error{Where: where, NoValue: true, Want: "not YAML: " + text}
}

// walker turns a YAML tree into leaves.
type walker struct {
	name   string
	byKey  map[string]Setting
	keys   []string
	groups map[string]bool
	leaves []leaf
}

// mapping reads n, whose keys begin with prefix: "" or "limits.".
func (w *walker) mapping(prefix string, n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return w.fail(n, strings.TrimSuffix(prefix, "."), "want keys and values, such as \"mqtt-addr: 127.0.0.1:1883\"")
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		if k.Kind != yaml.ScalarNode || k.Value == "" {
			return w.fail(k, strings.TrimSuffix(prefix, "."), "want a name as key")
		}
		if seen[key] {
			return w.fail(k, key, "stands twice")
		}
		seen[key] = true
		var err error
		switch s, ok := w.byKey[key]; {
		case ok:
			err = w.leaf(s, v)
		case w.groups[key]:
			err = w.mapping(key+".", v)
		default:
			err = w.fail(k, strconv.QuoteToGraphic(key), unknown(key, w.keys))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(s Setting, v *yaml.Node) error {
	value := v.Value
	switch {
	case v.Kind == yaml.SequenceNode && s.List:
		var vs []string
		for _, e := range v.Content {
			if e.Kind != yaml.ScalarNode || strings.Contains(e.Value, ",") {
				return w.fail(e, s.Key, "want "+s.Allowed)
			}
			vs = append(vs, e.Value)
		}
		value = strings.Join(vs, ",")
	case v.Kind != yaml.ScalarNode:
		return w.fail(v, s.Key, "want "+s.Allowed)
	case v.Tag == "!!null":
		value = ""
	}
	at := fmt.Sprintf("%s:%d", w.name, v.Line)
	w.leaves = append(w.leaves, leaf{setting: s, value: value, where: at, key: s.Key, origin: at})
	return nil
}

func (w *walker) fail(n *yaml.Node, key, want string) error {
	return &Error{Where: fmt.Sprintf("%s:%d", w.name, n.Line), Key: key, NoValue: true, Want: want}
}
