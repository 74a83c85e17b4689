package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestJSONKeys holds the keys to what they were: scripts read them.
func TestJSONKeys(t *testing.T) {
	d := losing()
	d.Config.Sources, d.Config.Group, d.Config.Username, d.Config.Password = []string{"127.0.0.2"}, "g", "u", "secret"
	d.Config.Retain, d.Config.Churn, d.Config.Each, d.Rounds, d.Latency.Round = true, true, 10, 1, d.Latency.Ping
	d.Config.PublishTo, d.Config.Path, d.Config.TLS.CA = []string{"127.0.0.1:1"}, "/mqtt", "ca.pem"
	var b bytes.Buffer
	if err := d.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "secret") {
		t.Error("tells the password")
	}
	var v any
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	gather(v, "", keys)
	if *rewrite {
		golden(t, "keys.txt", strings.Join(slices.Sorted(maps.Keys(keys)), "\n")+"\n")
	}
	want, err := os.ReadFile(filepath.Join("testdata", "keys.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for k := range strings.Lines(string(want)) {
		if k = strings.TrimSpace(k); !keys[k] {
			t.Errorf("%s is gone: that is another Schema", k)
		}
	}
}

// gather adds the path of each value in v with its type.
func gather(v any, path string, keys map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			gather(e, strings.TrimPrefix(path+"."+k, "."), keys)
		}
	case []any:
		for _, e := range v {
			gather(e, path+"[]", keys)
		}
	default:
		keys[fmt.Sprintf("%s %T", path, v)] = true
	}
}

// TestJSONAndBack: all that is shown can be shown again from JSON.
func TestJSONAndBack(t *testing.T) {
	for name, sample := range samples {
		var text, again, first, second bytes.Buffer
		d := sample()
		if err := d.WriteJSON(&text); err != nil {
			t.Fatal(err)
		}
		back, err := Read(bytes.NewReader(text.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []struct {
			d *Document
			b *bytes.Buffer
		}{{d, &first}, {back, &second}} {
			if err := w.d.WriteTable(w.b, false); err != nil {
				t.Fatal(err)
			}
			if err := WriteHTML(w.b, Named{name, w.d}); err != nil {
				t.Fatal(err)
			}
		}
		if first.String() != second.String() {
			t.Errorf("%s is shown otherwise after JSON", name)
		}
		if err := back.WriteJSON(&again); err != nil || again.String() != text.String() {
			t.Errorf("%s is other JSON after JSON (%v)", name, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	if _, err := Read(strings.NewReader(`{"schema": 99}`)); !errors.Is(err, ErrSchema) {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", "{", `{"schema": 1, "latency": {"ping": {"hdr": "AAAA"}}}`} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestCommand(t *testing.T) {
	got := shell(Command([]string{"dunlin", "bench", "pub", "-P", "pw", "-Ppw", "--pw", "pw", "--pw=pw", "--pwd", "x", "-t", "it's", ""}, "-P", "--pw"))
	if want := `dunlin bench pub -P '***' '-P***' --pw '***' '--pw=***' --pwd x -t 'it'\''s' ''`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
