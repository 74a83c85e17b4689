package mqtt

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden packets' meanings")

// golden is one packet of testdata/golden. A file there holds, per packet:
//
//	== 3.1.1 QoS 1              the version to read it as, and what it is about
//	32 09 00 03 61 2f 62        its bytes, any number of lines
//	PUBLISH                     what it means, as describe has it,
//		QoS 1                   written by go test -update
//	encodes as e0 00            only if it is not written as it was read
//
// The bytes are the source: they were written by hand or by other
// implementations, and -update never touches them.
type golden struct {
	name    string // file and title
	version Version
	bytes   []byte
	hex     string // as it stands in the file
	meaning string
}

func goldenFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden packets: %v", err)
	}
	return files
}

func goldens(t testing.TB) (all []golden) {
	t.Helper()
	for _, file := range goldenFiles(t) {
		all = append(all, readGolden(t, file)...)
	}
	return all
}

func readGolden(t testing.TB, file string) (all []golden) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(strings.TrimPrefix(string(text), "== "), "\n== ") {
		title, rest, _ := strings.Cut(block, "\n")
		g := golden{name: filepath.Base(file) + ": " + title}
		version, _, _ := strings.Cut(title, " ")
		for _, v := range []Version{V31, V311, V5} {
			if v.String() == version {
				g.version = v
			}
		}
		for {
			line, after, _ := strings.Cut(rest, "\n")
			b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil || line == "" {
				break
			}
			g.bytes, g.hex, rest = append(g.bytes, b...), g.hex+line+"\n", after
		}
		if g.version == 0 || len(g.bytes) == 0 {
			t.Fatalf("%s: no version or no bytes", g.name)
		}
		g.meaning = strings.TrimSpace(rest) + "\n"
		all = append(all, g)
	}
	return all
}

// decode reads g and says what it means, in the form of the file.
func (g golden) decode() (*Packet, string) {
	var p Packet
	f, n, err := Cut(g.bytes, MaxPacketSize)
	if err == nil && n != len(g.bytes) {
		err = fmt.Errorf("cut %d of %d bytes", n, len(g.bytes))
	}
	if err == nil {
		err = Decode(f, g.version, &p)
	}
	if err != nil {
		return nil, err.Error() + "\n"
	}
	meaning := describe(&p)
	if again := p.Append(nil, g.version); !bytes.Equal(again, g.bytes) {
		meaning += fmt.Sprintf("encodes as % x\n", again)
	}
	return &p, meaning
}

func TestGolden(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range goldenFiles(t) {
		var rewritten strings.Builder
		for i, g := range readGolden(t, file) {
			p, meaning := g.decode()
			if p == nil {
				t.Errorf("%s: %s", g.name, meaning)
				continue
			}
			if meaning != g.meaning && !*update {
				t.Errorf("%s means\n%s\nand not\n%s", g.name, meaning, g.meaning)
			}
			if i > 0 {
				rewritten.WriteByte('\n')
			}
			_, title, _ := strings.Cut(g.name, ": ")
			fmt.Fprintf(&rewritten, "== %s\n%s%s", title, g.hex, meaning)
			seen[fmt.Sprintf("%v %v", g.version, p.Kind)] = true
			noteProperties(seen, p)
		}
		if *update && !t.Failed() {
			if err := os.WriteFile(file, []byte(rewritten.String()), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	eachKind(func(kind Kind, v Version) {
		if !seen[fmt.Sprintf("%v %v", v, kind)] {
			t.Errorf("no golden %v of %v", kind, v)
		}
	})
	for id, rule := range propertyRules {
		for kind := kindWill; kind <= AUTH; kind++ {
			if rule.in&(1<<kind) != 0 && !seen[fmt.Sprintf("%v in %d", PropertyID(id), kind)] {
				t.Errorf("no golden %v with %v", kind, PropertyID(id))
			}
		}
	}
}

func noteProperties(seen map[string]bool, p *Packet) {
	sections := map[Kind]Properties{
		CONNECT: p.Connect.Properties, CONNACK: p.Connack.Properties, PUBLISH: p.Publish.Properties,
		PUBACK: p.Ack.Properties, PUBREC: p.Ack.Properties, PUBREL: p.Ack.Properties, PUBCOMP: p.Ack.Properties,
		SUBSCRIBE: p.Subscribe.Properties, SUBACK: p.Suback.Properties, UNSUBACK: p.Suback.Properties,
		UNSUBSCRIBE: p.Unsubscribe.Properties, DISCONNECT: p.Disconnect.Properties, AUTH: p.Auth.Properties,
	}
	for q := range sections[p.Kind].All() {
		seen[fmt.Sprintf("%v in %d", q.ID, p.Kind)] = true
	}
	if p.Kind == CONNECT {
		for q := range p.Connect.Will.Properties.All() {
			seen[fmt.Sprintf("%v in %d", q.ID, kindWill)] = true
		}
	}
}
