package main

import (
	"bytes"
	"testing"
)

func TestYAML(t *testing.T) {
	for _, tt := range []struct{ json, yaml string }{
		{`{"b": 1, "a": "x"}`, "b: 1\na: x\n"},
		{`[{"k": "v", "l": [1, 2]}, {"k": {}}]`, "- k: v\n  l:\n    - 1\n    - 2\n- k: {}\n"},
		{`{"a": [], "b": {"c": {"d": null}}}`, "a: []\nb:\n  c:\n    d: null\n"},
		{`[[1, 2], [3]]`, "-\n  - 1\n  - 2\n-\n  - 3\n"},
		{`["true", "No", "1.5", "", "a: b", "a\nb", "#", "127.0.0.1:1", "plain-1_x"]`,
			"- \"true\"\n- \"No\"\n- \"1.5\"\n- \"\"\n- \"a: b\"\n- \"a\\nb\"\n- \"#\"\n- \"127.0.0.1:1\"\n- plain-1_x\n"},
		{`true`, "true\n"},
		{`[]`, "[]\n"},
	} {
		got := string(bytes.TrimLeft(appendYAML(nil, []byte(tt.json)), " \n")) + "\n"
		if got != tt.yaml {
			t.Errorf("%s\ngot\n%swant\n%s", tt.json, got, tt.yaml)
		}
	}
}

// Case 55: what a client calls itself does not act on the operator's terminal.
func TestTableQuotes(t *testing.T) {
	tab := newTable("ID")
	tab.row("\x1b[31mred\nline")
	tab.row("plain id/1")
	var b bytes.Buffer
	if err := tab.print(&b); err != nil {
		t.Fatal(err)
	}
	if want := "ID\n\"\\x1b[31mred\\nline\"\nplain id/1\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}
