package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// progress shows how far a command is on a line of a terminal; elsewhere nothing.
type progress struct {
	to   io.Writer // nil: nobody looks
	next time.Time
}

const progressEvery = 100 * time.Millisecond

func newProgress(cmd *cobra.Command) *progress {
	if w := cmd.ErrOrStderr(); isTerminal(w) {
		return &progress{to: w}
	}
	return &progress{}
}

// show replaces the line, now and then.
func (p *progress) show(format string, args ...any) {
	if now := time.Now(); p.to != nil && now.After(p.next) {
		p.next = now.Add(progressEvery)
		fmt.Fprintf(p.to, "\r\x1b[K"+format, args...)
	}
}

// clear removes the line, so that something else may be written.
func (p *progress) clear() {
	if p.to != nil {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}

// size is a number of bytes as people read it.
func size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}
