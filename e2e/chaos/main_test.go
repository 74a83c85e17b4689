package chaos

import (
	"testing"

	"dunlin/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
