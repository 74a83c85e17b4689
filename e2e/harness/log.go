package harness

import (
	"bytes"
	"errors"
	"math"
	"os"
	"regexp"
	"sync"
)

// log keeps what a node writes, over all its runs.
type log struct {
	mu struct {
		sync.Mutex
		b []byte
	}
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.b = append(l.mu.b, p...)
	return len(p), nil
}

// bad are lines that no run may have: a panic, the runtime's own complaints, the
// race detector's.
var bad = regexp.MustCompile(`(?m)^.*(?:panic[:=]|msg="?panic|fatal error: |DATA RACE).*$`)

// trouble is the first bad line, "" if there is none.
func (l *log) trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bad.Find(l.mu.b))
}

// tail is the last n lines.
func (l *log) tail(n int) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.mu.b
	at := len(b)
	for ; n > 0 && at > 0; n-- {
		at = bytes.LastIndexByte(b[:at-1], '\n') + 1
	}
	return bytes.Clone(b[at:])
}

// keep writes all lines to a file that outlives the test.
func (l *log) keep(name string) (path string, err error) {
	f, err := os.CreateTemp("", "dunlin-log-"+name+"-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(l.tail(math.MaxInt))
	return f.Name(), errors.Join(err, f.Close())
}
