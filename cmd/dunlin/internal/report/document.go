package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/preflight"
)

// Schema is the version of Document's JSON. Keys may be added within one; a key that
// goes, or comes to mean something else, makes the next.
const Schema = 1

// Document is the result of a run and what is needed to read it.
type Document struct {
	Schema int      `json:"schema"`
	Passed bool     `json:"passed"`
	Broken []string `json:"broken,omitempty"` // why not
	Dunlin string   `json:"dunlin"`           // version of the load tester
	// Command is the command line, without its secrets.
	Command     []string            `json:"command"`
	Environment Environment         `json:"environment"`
	Limits      []preflight.Finding `json:"limits,omitempty"`
	load.Result
}

// New makes the document of a result.
func New(r load.Result, version string, command []string, env Environment, limits []preflight.Finding) *Document {
	broken := r.Broken()
	return &Document{
		Schema: Schema, Passed: len(broken) == 0, Broken: broken, Dunlin: version, Command: command,
		Environment: env, Limits: limits, Result: r,
	}
}

// ErrSchema is Read's error about a document of a version that it does not know.
var ErrSchema = errors.New("report: unknown schema")

// Read reads a document from JSON.
func Read(r io.Reader) (*Document, error) {
	var d Document
	if err := json.NewDecoder(r).Decode(&d); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if d.Schema != Schema {
		return nil, fmt.Errorf("%w %d: this version reads %d", ErrSchema, d.Schema, Schema)
	}
	return &d, nil
}

// WriteJSON writes the document as indented JSON.
func (d *Document) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// hidden stands for a secret.
const hidden = "***"

// Command is a command line whose secret flags, given as "-P" or "--pw", are hidden
// in every way of writing them.
func Command(args []string, secret ...string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		for _, flag := range secret {
			rest, found := strings.CutPrefix(a, flag)
			switch joined := strings.HasPrefix(flag, "--"); {
			case !found:
			case rest == "" && i+1 < len(out):
				out[i+1] = hidden
			case joined && rest != "" && rest[0] == '=':
				out[i] = flag + "=" + hidden
			case !joined && rest != "" && flag[1] != '-':
				out[i] = flag + hidden
			}
		}
	}
	return out
}

// shell is a command line as a POSIX shell reads it.
func shell(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		plain := a != "" && strings.IndexFunc(a, func(r rune) bool {
			return !strings.ContainsRune("-_./:,=+@%", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) < 0
		if quoted[i] = a; !plain {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
