package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user runs the node and owns its data. It is a number, since Kubernetes cannot tell of
// a name whether it is root's.
const user = 65532

// License is Dunlin's own.
const license = "Apache-2.0"

// spec is what an image is made of.
type spec struct {
	name, version    string // of the image
	revision, source string // of the code
	module           string // folder of the code
	created          time.Time
	programs         []program
}

// program is Dunlin for one architecture.
type program struct {
	arch   string
	binary []byte
	bill   []byte // software bill of materials
}

// index is the image for all architectures.
func (s *spec) index() (v1.ImageIndex, error) {
	ground, err := s.ground()
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range s.programs {
		img, err := s.image(p, ground)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: p.arch}},
		})
	}
	return mutate.Annotations(index, s.labels()).(v1.ImageIndex), nil
}

// image is that of one architecture: what seldom changes in one layer, the program
// in another.
func (s *spec) image(p program, ground v1.Layer) (v1.Image, error) {
	licenses, err := s.licenses(p.binary)
	if err != nil {
		return nil, err
	}
	top, err := s.layer(append(licenses,
		file{name: "usr/bin/dunlin", mode: 0o555, body: p.binary},
		file{name: "usr/share/doc/dunlin/sbom.spdx.json", body: p.bill},
	))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range []struct {
		layer v1.Layer
		what  string
	}{{ground, "user, data directory, certificate authorities"}, {top, "dunlin " + s.version}} {
		if img, err = mutate.Append(img, mutate.Addendum{
			Layer: l.layer, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: s.created}, CreatedBy: l.what},
		}); err != nil {
			return nil, err
		}
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", p.arch, v1.Time{Time: s.created}
	owner := strconv.Itoa(user)
	c.Config = v1.Config{
		User: owner + ":" + owner, Entrypoint: []string{"/usr/bin/dunlin"}, Cmd: []string{"serve"},
		Env:        []string{"PATH=/usr/bin", "TMPDIR=/data"}, // nothing else can be written to
		WorkingDir: "/",                                       // its data directory is ./data, where commands find the node too
		Volumes:    map[string]struct{}{"/data": {}},
		// By convention: MQTT in its four wrappings, health and metrics.
		ExposedPorts: map[string]struct{}{"1883/tcp": {}, "8883/tcp": {}, "8083/tcp": {}, "8084/tcp": {}, "18083/tcp": {}},
		StopSignal:   "SIGTERM",
		Labels:       s.labels(),
	}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		return nil, err
	}
	return mutate.Annotations(img, s.labels()).(v1.Image), nil
}

func (s *spec) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	m := map[string]string{
		prefix + "title":       "Dunlin",
		prefix + "description": "A clustered MQTT broker",
		prefix + "version":     s.version,
		prefix + "revision":    s.revision,
		prefix + "licenses":    license,
		prefix + "created":     s.created.Format(time.RFC3339),
	}
	if s.source != "" {
		m[prefix+"source"] = s.source
	}
	return m
}

// ground is the layer below the program.
func (s *spec) ground() (v1.Layer, error) {
	var roots bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint != nil {
			continue // a PEM file cannot say for what it is trusted only
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate}); err != nil {
			return nil, err
		}
	}
	id := strconv.Itoa(user)
	return s.layer([]file{
		{name: "etc/passwd", body: []byte("dunlin:x:" + id + ":" + id + ":Dunlin:/data:/nonexistent\n")},
		{name: "etc/group", body: []byte("dunlin:x:" + id + ":\n")},
		{name: "etc/ssl/certs/ca-certificates.crt", body: roots.Bytes()},
		{name: "data/", mode: 0o700, owner: user},
	})
}

// file is one of a layer, or a folder if its name ends in a slash.
type file struct {
	name  string
	mode  int64 // 0: anybody may read it
	owner int
	body  []byte
}

// layer packs files, with the folders that they are in.
func (s *spec) layer(files []file) (v1.Layer, error) {
	there := make(map[string]bool)
	for _, f := range files {
		there[f.name] = true
	}
	for _, f := range files[:len(files):len(files)] {
		for dir := path.Dir(strings.TrimSuffix(f.name, "/")); dir != "."; dir = path.Dir(dir) {
			if !there[dir+"/"] {
				there[dir+"/"] = true
				files = append(files, file{name: dir + "/", mode: 0o755})
			}
		}
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := put(w, f, s.created); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

func put(w *tar.Writer, f file, at time.Time) error {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.body)), Mode: f.mode,
		Uid: f.owner, Gid: f.owner, ModTime: at, Format: tar.FormatPAX,
	}
	if strings.HasSuffix(f.name, "/") {
		h.Typeflag = tar.TypeDir
	}
	if h.Mode == 0 {
		h.Mode = 0o444
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(f.body)
	return err
}

// archive writes the image as one file. What loads it finds its name in one of two
// annotations: containerd in its own, others take the tag.
func archive(to string, index v1.ImageIndex, name, tag string) error {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name,
		"org.opencontainers.image.ref.name": tag,
	})); err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// WalkDir goes in the order of names.
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		f := file{mode: 0o644}
		if f.name, err = filepath.Rel(dir, p); err != nil {
			return err
		}
		if d.IsDir() {
			f.name, f.mode = f.name+"/", 0o755
		} else if f.body, err = os.ReadFile(p); err != nil {
			return err
		}
		return put(w, f, time.Unix(0, 0))
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, b.Bytes(), 0o644)
}
