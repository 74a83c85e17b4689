// Command package writes the chart as an archive whose version is the release's, so that a chart never lags behind the
// broker that it installs.
//
//	go -C charts run ./package -version v1.2.3 -out ../dist
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

func main() {
	version := flag.String("version", "", "`version` of the release: its tag, or what git describe says")
	out := flag.String("out", ".", "`folder` for the archive")
	flag.Parse()
	if err := run(*version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

func run(version, out string) error {
	c, err := loader.Load("dunlin")
	if err != nil {
		return err
	}
	c.Metadata.AppVersion = version
	// Charts have semantic versions; what is no release becomes one before the chart's next.
	v := strings.TrimPrefix(version, "v")
	c.Metadata.Version = v
	if c.Validate() != nil {
		c.Metadata.Version = "0.0.0-" + strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
				return r
			}
			return '-'
		}, v)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	path, err := chartutil.Save(c, out)
	if err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}
