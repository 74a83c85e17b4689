package upgrade

import (
	"flag"
	"testing"

	"dunlin/e2e/harness"
)

var full = flag.Bool("upgrade.full", false, "more traffic between two steps, and on to the release after this one")

func TestMain(m *testing.M) { harness.Main(m) }
