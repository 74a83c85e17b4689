package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// The document of a bill of materials, in SPDX 2.3.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		DataLicense   string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []pack         `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	pack struct {
		Name      string      `json:"name"`
		ID        string      `json:"SPDXID"`
		Version   string      `json:"versionInfo"`
		Location  string      `json:"downloadLocation"`
		Analyzed  bool        `json:"filesAnalyzed"`
		Concluded string      `json:"licenseConcluded"`
		Declared  string      `json:"licenseDeclared"`
		Copyright string      `json:"copyrightText"`
		Purpose   string      `json:"primaryPackagePurpose,omitempty"`
		Checksums []checksum  `json:"checksums,omitempty"`
		Refs      []reference `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	reference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Of   string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const (
	unsaid   = "NOASSERTION"
	theImage = "SPDXRef-dunlin"
	authors  = "golang.org/x/crypto/x509roots/fallback" // the module of the certificate authorities
)

// bill is the bill of materials of p: what its binary itself says that it was built
// from, and what the image adds.
func (s *spec) bill(p *program) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(p.binary))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(p.binary)
	name := fmt.Sprintf("dunlin-%s-linux-%s", s.version, p.arch)
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "https://spdx.org/spdxdocs/" + name + "-" + hex.EncodeToString(sum[:]),
		Creation:  creation{s.created.Format(time.RFC3339), []string{"Tool: dunlin-image"}},
		Packages: []pack{{
			Name: "dunlin", ID: theImage, Version: s.version, Location: unsaid,
			Concluded: license, Declared: license, Copyright: unsaid, Purpose: "APPLICATION",
			Checksums: []checksum{{"SHA256", hex.EncodeToString(sum[:])}},
		}},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", theImage}},
	}
	d.add("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "STATIC_LINK")
	for _, m := range info.Deps {
		m = replaced(m)
		d.add(m.Path, m.Version, "STATIC_LINK")
	}
	if self, ok := debug.ReadBuildInfo(); ok {
		for _, m := range self.Deps {
			if m.Path == authors {
				d.add(m.Path, m.Version, "CONTAINS")
			}
		}
	}
	b, err := json.MarshalIndent(d, "", "  ")
	return append(b, '\n'), err
}

// notID matches what an identifier of SPDX may not have.
var notID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// add enters a module of Go, to which the image has the relationship how.
func (d *document) add(module, version, how string) {
	id := "SPDXRef-" + notID.ReplaceAllString(module, "-") + "-" + strconv.Itoa(len(d.Packages))
	d.Packages = append(d.Packages, pack{
		Name: module, ID: id, Version: version, Location: unsaid, Concluded: unsaid, Declared: unsaid, Copyright: unsaid,
		Refs: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module + "@" + version}},
	})
	d.Relationships = append(d.Relationships, relationship{theImage, how, id})
}

func replaced(m *debug.Module) *debug.Module {
	if m.Replace != nil {
		return m.Replace
	}
	return m
}

// isLicense matches the files that a copy of a module has to go with.
var isLicense = regexp.MustCompile(`^(?i:licen[cs]e|copying|notice|patents)([.-].*)?$`)

// licenses are the texts of Dunlin's licence, and of those of what the binary was
// built from.
func (s *spec) licenses(binary []byte) ([]file, error) {
	const to = "usr/share/doc/dunlin"
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(s.module, "LICENSE"))
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	library, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("the licence of Go's library: %w", err)
	}
	files := []file{{name: to + "/LICENSE", body: own}, {name: to + "/licenses/stdlib/LICENSE", body: library}}
	args := []string{"list", "-m", "-json"}
	for _, m := range info.Deps {
		args = append(args, m.Path)
	}
	if len(info.Deps) == 0 {
		return files, nil
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = s.module, os.Stderr
	if out, err = cmd.Output(); err != nil {
		return nil, fmt.Errorf("%v: %w", cmd, err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Version, Dir string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return files, nil
		} else if err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(m.Dir)
		if err != nil {
			return nil, fmt.Errorf("module %s@%s: %w", m.Path, m.Version, err)
		}
		found := false
		for _, e := range entries {
			if !e.Type().IsRegular() || !isLicense.MatchString(e.Name()) {
				continue
			}
			b, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
			if err != nil {
				return nil, err
			}
			found = true
			files = append(files, file{name: path.Join(to, "licenses", m.Path, e.Name()), body: b})
		}
		if !found {
			return nil, fmt.Errorf("module %s@%s has no licence: an image may not hold it", m.Path, m.Version)
		}
	}
}
