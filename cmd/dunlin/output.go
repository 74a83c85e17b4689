package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// format is the flag -o: how a command prints what it was asked for.
type format string

func (f *format) bind(cmd *cobra.Command) {
	*f = "table"
	cmd.Flags().VarP(f, "output", "o", "table, json or yaml")
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }
func (f *format) Set(v string) error {
	switch v {
	case "table", "json", "yaml":
		*f = format(v)
		return nil
	}
	return fmt.Errorf("want table, json or yaml")
}

// print writes v as JSON or YAML, or the table.
func (f format) print(w io.Writer, v any, t *table) error {
	if f == "table" {
		return t.print(w)
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if f == "yaml" {
		b = bytes.TrimLeft(appendYAML(nil, b), "\n")
	}
	_, err = w.Write(append(bytes.TrimRight(b, "\n"), '\n'))
	return err
}

// table is columns of text, and a line below them if note is not empty.
type table struct {
	rows [][]string
	note string
}

func newTable(head ...string) *table { return &table{rows: [][]string{head}} }

// row adds a line. Cells are quoted where they hold what a terminal would act on
// (case 55).
func (t *table) row(cells ...string) {
	for i, c := range cells {
		if quoted := strconv.Quote(c); quoted != `"`+c+`"` {
			cells[i] = quoted
		}
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, r := range t.rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	if err := tw.Flush(); err != nil || t.note == "" {
		return err
	}
	_, err := fmt.Fprintln(w, t.note)
	return err
}

// appendYAML turns JSON into block YAML, in the same order. Text stays in JSON's
// quotes where YAML might read something else.
func appendYAML(dst, src []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	return yamlValue(dst, dec, 0)
}

// yamlValue appends the next value; what begins on a line of its own is indented
// by depth.
func yamlValue(dst []byte, dec *json.Decoder, depth int) []byte {
	tok, err := dec.Token()
	if err != nil {
		return dst
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return append(append(dst, ' '), yamlScalar(tok)...)
	}
	if !dec.More() {
		_, _ = dec.Token() // the end
		return append(dst, map[json.Delim]string{'[': " []", '{': " {}"}[open]...)
	}
	for first := true; dec.More(); first = false {
		// The first key of a mapping within a sequence stands beside the dash.
		if beside := first && open == '{' && bytes.HasSuffix(dst, []byte("-")); beside {
			dst = append(dst, ' ')
		} else {
			dst = append(append(dst, '\n'), strings.Repeat("  ", depth)...)
		}
		if open == '[' {
			dst = append(dst, '-')
		} else {
			key, _ := dec.Token()
			dst = append(append(dst, yamlScalar(key)...), ':')
		}
		dst = yamlValue(dst, dec, depth+1)
	}
	_, _ = dec.Token() // the end
	return dst
}

func yamlScalar(tok json.Token) string {
	switch v := tok.(type) {
	case nil:
		return "null"
	case string:
		if isPlain(v) {
			return v
		}
		b, _ := json.Marshal(v)
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// isPlain says whether YAML reads s as this text without quotes.
func isPlain(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	if !(s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z') {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_./", r):
		default:
			return false
		}
	}
	return true
}
