package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Source is what Load reads.
type Source struct {
	File  string            // path of a YAML file; "" for none
	Env   []string          // as os.Environ gives it; names without DUNLIN_ are passed over
	Flags map[string]string // key -> value of the flags that were given
}

// Origins tells where each setting's value came from: "default",
// "dunlin.yaml:3", "DUNLIN_LOOPS", "--loops".
type Origins map[string]string

// Load puts the configuration together and validates it: defaults, then the
// file, the environment and the flags. Errors are of type *Error. The file may
// also be named by DUNLIN_CONFIG.
func Load(src Source) (Config, Origins, error) {
	c := Default()
	set := Settings(&c)
	origins := make(Origins, len(set))
	for _, s := range set {
		origins[s.Key] = "default"
	}
	fail := func(err error) (Config, Origins, error) { return Config{}, nil, err }

	env, file, err := readEnv(src.Env, set)
	if err != nil {
		return fail(err)
	}
	if src.File != "" {
		file = src.File
	}
	var leaves []leaf
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return fail(&Error{Where: file, NoValue: true, Want: reason(err)})
		}
		if leaves, err = parseYAML(file, b, set); err != nil {
			return fail(err)
		}
	}
	leaves = append(leaves, env...)
	for _, s := range set {
		if v, ok := src.Flags[s.Key]; ok {
			leaves = append(leaves, leaf{setting: s, value: v, where: "flag", key: "--" + s.Key, origin: "--" + s.Key})
		}
	}
	for _, l := range leaves {
		if err := l.apply(); err != nil {
			return fail(err)
		}
		origins[l.setting.Key] = l.origin
	}
	if err := c.Validate(); err != nil {
		var e *Error
		if errors.As(err, &e) && e.Where == "" {
			e.locate(origins[e.Key])
		}
		return fail(err)
	}
	return c, origins, nil
}

// leaf is one value that a source gives to a setting.
type leaf struct {
	setting Setting
	value   string
	where   string // for Error.Where
	key     string // for Error.Key
	origin  string // for Origins
}

func (l leaf) apply() error {
	e := &Error{
		Where: l.where, Key: l.key, Value: l.value,
		NoValue: l.setting.Secret, Flag: l.where == "flag", Want: "want " + l.setting.Allowed,
	}
	v, err := expand(l.value)
	if err != nil {
		e.Value, e.NoValue, e.Want = "", true, err.Error()
		return e
	}
	if !l.setting.set(v) {
		return e
	}
	return nil
}

// expand replaces a value that is ${FILE:path} by the file's content, without
// the newline at its end: how secrets stay out of the configuration.
func expand(v string) (string, error) {
	path, ok := strings.CutPrefix(v, "${FILE:")
	if !ok || !strings.HasSuffix(path, "}") {
		return v, nil
	}
	path = strings.TrimSuffix(path, "}")
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %q: %s", path, reason(err))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// reason is an I/O error without the path, which the message has already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
