//go:build !linux

package listen

func backendFor(Options) backend { return goroutines{} }
