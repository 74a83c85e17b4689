package node

import (
	"runtime/debug"
	"sync"
)

// release is set by the linker for a release build.
var release string

// Version is the version of the program: its release, or the revision that it
// was built from.
var Version = sync.OnceValue(func() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
})
