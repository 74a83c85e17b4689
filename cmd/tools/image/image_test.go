package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// written makes an image of this test's own program, for two architectures, and
// returns where.
func written(t *testing.T) (out string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out = t.TempDir()
	s := spec{name: "example.org/dunlin", version: "v1", revision: "abc", source: "https://example.org/source",
		module: moduleWithLicense(t), created: time.Unix(1_700_000_000, 0).UTC()}
	if err := run(s, out, []string{"amd64=" + self, "arm64=" + self}); err != nil {
		t.Fatal(err)
	}
	return out
}

// moduleWithLicense is a copy of this module's go.mod, by which the licences of the
// test's program are found, with a licence.
func moduleWithLicense(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("ours\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open unpacks the archive and returns the image of an architecture.
func open(t *testing.T, out, arch string) v1.Image {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join(out, "dunlin-v1.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 {
		t.Fatalf("the archive has %d images, want one of several architectures", len(m.Manifests))
	}
	if name := m.Manifests[0].Annotations["io.containerd.image.name"]; name != "example.org/dunlin:v1" {
		t.Errorf("the archive is called %q", name)
	}
	index, err := top.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Platform.OS == "linux" && d.Platform.Architecture == arch {
			img, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	t.Fatalf("no image for %s", arch)
	return nil
}

// contents are the files of all layers.
func contents(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*tar.Header)
	for _, l := range layers {
		packed, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if files[h.Name] != nil && h.Typeflag != tar.TypeDir {
				t.Errorf("%s is there twice", h.Name)
			}
			files[h.Name] = h
			if h.Name == "etc/ssl/certs/ca-certificates.crt" {
				roots(t, r)
			}
		}
	}
	return files
}

func roots(t *testing.T, r io.Reader) {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
		n++
	}
	if n < 50 {
		t.Errorf("%d authorities, those of the public web are more", n)
	}
}

// What is published under a version can be built again by anybody who doubts it.
func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	for _, name := range []string{"dunlin-v1.oci.tar", "dunlin-v1-linux-amd64.spdx.json"} {
		var sums [2][sha256.Size]byte
		for k := range sums {
			b, err := os.ReadFile(filepath.Join(written(t), name))
			if err != nil {
				t.Fatal(err)
			}
			sums[k] = sha256.Sum256(b)
		}
		if sums[0] != sums[1] {
			t.Errorf("%s differs from one run to the next", name)
		}
	}
}

func TestTheImageIsThatOfANodeAndNothingElse(t *testing.T) {
	out := written(t)
	for _, arch := range []string{"amd64", "arm64"} {
		img := open(t, out, arch)
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c.Architecture != arch || c.OS != "linux" {
			t.Errorf("the image for %s says %s/%s", arch, c.OS, c.Architecture)
		}
		if c.Config.User != "65532:65532" {
			t.Errorf("user %q: Kubernetes tells of a number only that it is not root", c.Config.User)
		}
		if got := strings.Join(append(c.Config.Entrypoint, c.Config.Cmd...), " "); got != "/usr/bin/dunlin serve" {
			t.Errorf("it runs %q", got)
		}
		for _, l := range []string{"version", "revision", "licenses", "source", "created", "title"} {
			if c.Config.Labels["org.opencontainers.image."+l] == "" {
				t.Errorf("no label %s", l)
			}
		}
		files := contents(t, img)
		for name, h := range files {
			if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 && name != "usr/bin/dunlin" {
				t.Errorf("%s can be run: there is to be no shell and no tool", name)
			}
			if h.Mode&0o7022 != 0 {
				t.Errorf("%s has mode %o", name, h.Mode)
			}
			if (h.Uid != 0 || h.Gid != 0) != (name == "data/") {
				t.Errorf("%s belongs to %d:%d", name, h.Uid, h.Gid)
			}
		}
		if d := files["data/"]; d == nil || d.Uid != user || d.Gid != user || d.Mode != 0o700 {
			t.Errorf("data/: %+v, want it the user's alone", d)
		}
		for _, name := range []string{"usr/bin/dunlin", "etc/passwd", "usr/share/doc/dunlin/sbom.spdx.json",
			"usr/share/doc/dunlin/LICENSE", "usr/share/doc/dunlin/licenses/stdlib/LICENSE", "usr/share/doc/dunlin/licenses/github.com/google/go-containerregistry/LICENSE"} {
			if files[name] == nil {
				t.Errorf("no %s", name)
			}
		}
	}
}

func TestTheBillNamesWhatTheBinaryWasBuiltFrom(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(written(t), "dunlin-v1-linux-arm64.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Version != "SPDX-2.3" || d.Creation.Created != "2023-11-14T22:13:20Z" {
		t.Errorf("%q of %s", d.Version, d.Creation.Created)
	}
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	named := make(map[string]string)
	for _, p := range d.Packages {
		if ids[p.ID] {
			t.Errorf("%s stands twice", p.ID)
		}
		ids[p.ID] = true
		named[p.Name] = p.Version
	}
	for _, r := range d.Relationships {
		if !ids[r.Of] || !ids[r.To] {
			t.Errorf("%s %s %s: no such package", r.Of, r.Type, r.To)
		}
	}
	for _, name := range []string{"dunlin", "stdlib", "github.com/google/go-containerregistry"} {
		if named[name] == "" {
			t.Errorf("%s has no version", name)
		}
	}
}

// The Dockerfile is for those who have an engine; what it says of the image is what
// ours says.
func TestTheDockerfileSaysTheSame(t *testing.T) {
	c, err := open(t, written(t), "amd64").ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, last, ok := strings.Cut(string(b), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the last stage is not from scratch")
	}
	list := func(ss []string) string {
		b, err := json.Marshal(ss)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), ",", ", ")
	}
	var ports []string
	for p := range c.Config.ExposedPorts {
		ports = append(ports, strings.TrimSuffix(p, "/tcp"))
	}
	slices.Sort(ports)
	for _, want := range []string{
		"USER " + c.Config.User,
		"ENTRYPOINT " + list(c.Config.Entrypoint),
		"CMD " + list(c.Config.Cmd),
		"WORKDIR " + c.Config.WorkingDir,
		"ENV " + strings.Join(c.Config.Env, " "),
		"VOLUME " + slices.Collect(maps.Keys(c.Config.Volumes))[0],
		"EXPOSE " + strings.Join(ports, " "),
	} {
		if !strings.Contains("\n"+last, "\n"+want+"\n") {
			t.Errorf("its last stage does not say %q", want)
		}
	}
	for l := range c.Config.Labels {
		if !strings.Contains(last, l+"=") && l != "org.opencontainers.image.created" {
			t.Errorf("its last stage has no label %s", l)
		}
	}
}

func TestWrongInputIsRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		version  string
		binaries []string
	}{
		"no version":      {"", []string{"amd64=" + text}},
		"no binary":       {"v1", nil},
		"no architecture": {"v1", []string{text}},
		"no file":         {"v1", []string{"amd64=" + text + "x"}},
		"no Go program":   {"v1", []string{"amd64=" + text}},
	} {
		if err := run(spec{name: "x", version: try.version, module: "../../.."}, t.TempDir(), try.binaries); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
