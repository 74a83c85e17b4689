package acl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes bounds a rule file.
const MaxFileBytes = 16 << 20

// file is the YAML of a rule file.
type file struct {
	Otherwise string `yaml:"otherwise"` // allow or deny, the default
	Rules     []Rule `yaml:"rules"`
}

// Read makes the Policy of a rule file:
//
//	otherwise: deny
//	rules:
//	  - allow: all
//	    topics: ["devices/${clientid}/#"]
//	  - deny: publish
//	    users: [guest]
//	    topics: ["#"]
//
// An unknown key is an error, and so is a file without rules, which is more likely
// one that was cut off than one that means it (case 45). The error names the rule
// or the line.
func Read(r io.Reader) (*Policy, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > MaxFileBytes:
		return nil, fmt.Errorf("more than %d bytes", MaxFileBytes)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	var f file
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, inOneLine(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the first document")
	}
	if len(f.Rules) == 0 {
		return nil, errors.New("no rules")
	}
	var otherwise bool
	switch f.Otherwise {
	case "", "deny":
	case "allow":
		otherwise = true
	default:
		return nil, fmt.Errorf("otherwise: %q is not allowed: want allow or deny", f.Otherwise)
	}
	return NewPolicy(f.Rules, otherwise)
}

// inOneLine is an error of the YAML package, which may name several lines.
func inOneLine(err error) error {
	var several *yaml.TypeError
	if errors.As(err, &several) {
		return errors.New(strings.Join(several.Errors, "; "))
	}
	return err
}
