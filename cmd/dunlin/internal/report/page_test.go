package report

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

var pages = flag.String("pages", "", "write pages of all samples to this `folder`, to be looked at")

// pageSamples are pages of each kind, by name.
func pageSamples() map[string][]Named {
	all := map[string][]Named{
		"long":    {{"long", messages(4000, 5)}},
		"short":   {{"short", messages(1, 5)}},
		"nothing": {{"nothing", New(messages(1, 1).Result, "", nil, Environment{}, nil)}},
		"compare": {{"before.json", messages(30, 1)}, {"<i>after</i>.json", messages(25, 2)}, {"losing.json", losing()}},
	}
	nothing := all["nothing"][0].Document
	nothing.Series, nothing.Load, nothing.Brokers = nil, nil, nil
	nothing.Latency.Delivery, nothing.Latency.Ack, nothing.Latency.Connect, nothing.Latency.Ping = nil, nil, nil, nil
	for name, sample := range samples {
		all[name] = []Named{{name, sample()}}
	}
	return all
}

// TestPage: a page is well formed, refers to nothing outside of itself, and shows text
// of others as text.
func TestPage(t *testing.T) {
	for name, docs := range pageSamples() {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteHTML(&b, docs...); err != nil {
				t.Fatal(err)
			}
			if *pages != "" {
				if err := os.WriteFile(filepath.Join(*pages, name+".html"), b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			wellFormed(t, b.Bytes())
			if m := regexp.MustCompile(`NaN|Inf\b|ZgotmplZ|%!|<no value>`).Find(b.Bytes()); m != nil {
				t.Errorf("contains %s", m)
			}
			if b.Len() > 500<<10 {
				t.Errorf("is %d bytes long", b.Len())
			}
		})
	}
	if err := WriteHTML(io.Discard); err == nil {
		t.Error("a page of nothing")
	}
}

// wellFormed holds a page to its elements being closed in order, with no attribute
// that loads or runs anything and no element that is not the template's.
func wellFormed(t *testing.T, page []byte) {
	t.Helper()
	void := []string{"meta", "br"}
	var open []string
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			for _, a := range token.Attr {
				if slices.Contains([]string{"src", "href", "xlink:href", "action", "srcset", "data"}, a.Key) || strings.HasPrefix(a.Key, "on") ||
					strings.Contains(a.Val, "//") || strings.Contains(a.Val, "url(") {
					t.Errorf("<%s %s=%q>", token.Data, a.Key, a.Val)
				}
			}
			if slices.Contains([]string{"img", "link", "iframe", "object", "embed"}, token.Data) {
				t.Errorf("<%s>", token.Data)
			}
			if kind == html.StartTagToken && !slices.Contains(void, token.Data) {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> within %v", token.Data, open)
			}
			open = open[:len(open)-1]
		case html.TextToken:
			if in := open[max(0, len(open)-1):]; len(in) > 0 && in[0] == "style" &&
				(strings.Contains(token.Data, "url(") || strings.Contains(token.Data, "@import")) {
				t.Error("the style loads something")
			}
		}
	}
}

func TestPageEscapes(t *testing.T) {
	var b bytes.Buffer
	if err := WriteHTML(&b, Named{"x", losing()}); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"<script>alert", "<img", "onerror=alert(1)>", "<b>&'"} {
		if strings.Contains(b.String(), raw) {
			t.Errorf("contains %s", raw)
		}
	}
	if !strings.Contains(b.String(), "&lt;script&gt;alert") {
		t.Error("the failure's text is not there")
	}
}
