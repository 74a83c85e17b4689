//go:build !linux

package listen

import "runtime"

func processors() int { return runtime.GOMAXPROCS(0) }
