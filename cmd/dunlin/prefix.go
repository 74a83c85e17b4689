package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"dunlin/cmd/dunlin/internal/terminal"
)

// maxLine cuts the lines of a node's log that never end.
const maxLine = 64 << 10

// prefixer writes the output of several nodes to one writer, line by line, each
// with the node's name before it.
type prefixer struct {
	colour bool

	mu struct {
		sync.Mutex
		out io.Writer
	}
	prefixes map[string]string
}

// newPrefixer colours the names if out is a terminal that wants it
// (https://no-color.org).
func newPrefixer(out io.Writer, nodes []devNode) *prefixer {
	p := &prefixer{colour: terminal.Colours(out), prefixes: make(map[string]string)}
	p.mu.out = out
	width := 0
	for _, n := range nodes {
		width = max(width, len(n.name))
	}
	for i, n := range nodes {
		p.prefixes[n.name] = fmt.Sprintf("%-*s | ", width, n.name)
		if p.colour {
			p.prefixes[n.name] = fmt.Sprintf("\x1b[%dm%-*s |\x1b[0m ", 31+(i+1)%6, width, n.name)
		}
	}
	return p
}

// say writes text of dev's own.
func (p *prefixer) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(p.mu.out, text)
}

// writer is where the node's output goes.
func (p *prefixer) writer(name string) io.Writer {
	return &lineWriter{prefixer: p, prefix: p.prefixes[name]}
}

// lineWriter gathers lines. Its owner is the goroutine that copies one node's output.
type lineWriter struct {
	*prefixer
	prefix string
	rest   []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if len(line) > maxLine {
			line, rest, ok = w.rest[:maxLine], w.rest[maxLine:], true
		}
		if !ok {
			return len(b), nil
		}
		w.say(w.prefix + string(line) + "\n")
		w.rest = append(w.rest[:0], rest...)
	}
}
