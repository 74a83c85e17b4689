// Command image writes Dunlin's container image as an OCI archive, and a software bill of materials beside it, without
// a container engine.
//
//	go -C cmd/tools run ./image -version v1 -revision 1a2b3c -out ../../dist amd64=../../dist/linux-amd64/dunlin
//
// The image holds the static binary, the authorities that Go's maintainers take over from Mozilla, and licences; no
// shell, and nothing that is root's to run. The same input gives the same bytes on every machine: nothing in it has a time
// but the one that is given.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	var (
		s       spec
		created int64
	)
	out := flag.String("out", "dist", "`folder` for the archive and the bills of materials")
	flag.StringVar(&s.name, "name", "dunlin", "`name` of the image, without a tag")
	flag.StringVar(&s.version, "version", "", "`version`, the tag")
	flag.StringVar(&s.revision, "revision", "", "`revision` of the source")
	flag.StringVar(&s.source, "source", "", "`URL` of the source; \"\" leaves the label out")
	flag.StringVar(&s.module, "module", "../..", "`folder` of the module that the binaries were built from")
	flag.Int64Var(&created, "created", 0, "time of creation, in `seconds` since 1970: that of the revision")
	flag.Parse()
	s.created = time.Unix(created, 0).UTC()
	if err := run(s, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run writes the archive of s for the binaries, each as ARCHITECTURE=PATH, into out.
func run(s spec, out string, binaries []string) error {
	if s.version == "" || len(binaries) == 0 {
		return errors.New("want -version and at least one ARCHITECTURE=BINARY")
	}
	for _, arg := range binaries {
		arch, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q: want ARCHITECTURE=BINARY", arg)
		}
		p := program{arch: arch}
		var err error
		if p.binary, err = os.ReadFile(path); err != nil {
			return err
		}
		s.programs = append(s.programs, p)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	base := filepath.Join(out, "dunlin-"+s.version)
	for k := range s.programs {
		p := &s.programs[k]
		var err error
		if p.bill, err = s.bill(p); err != nil {
			return fmt.Errorf("%s: %w", p.arch, err)
		}
		if err := os.WriteFile(base+"-linux-"+p.arch+".spdx.json", p.bill, 0o644); err != nil {
			return err
		}
	}
	index, err := s.index()
	if err != nil {
		return err
	}
	if err := archive(base+".oci.tar", index, s.name+":"+s.version, s.version); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s.oci.tar\t%s:%s@%s\n", base, s.name, s.version, digest)
	return nil
}
