package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Clock is a build of a program whose wall clock is off by what a file says, and
// whose monotonic clock is right.
type Clock struct {
	Bin string // the program
	dir string
}

// clockSource is added to package time: seconds that are added to the wall
// clock, read from a file ten times a second. Now itself must not read it: the
// scheduler calls it too, from where no system call can be made.
const clockSource = `package time

import "sync/atomic"

var chaosSeconds atomic.Int64

func init() {
	chaosRead()
	go func() {
		for {
			Sleep(100 * Millisecond)
			chaosRead()
		}
	}()
}

func chaosRead() {
	fd, err := open(%q)
	if err != nil {
		return
	}
	defer closefd(fd)
	var b [32]byte
	n, _ := read(fd, b[:])
	var seconds, sign int64 = 0, 1
	for _, c := range b[:n] {
		switch {
		case c == '-':
			sign = -1
		case '0' <= c && c <= '9':
			seconds = seconds*10 + int64(c-'0')
		}
	}
	chaosSeconds.Store(sign * seconds)
}
`

// BuildClock builds the package pkg of the module in root with a clock of its
// own, into dir.
func BuildClock(root, pkg, dir string) (*Clock, error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("fault: clock: %w", err)
	}
	lib := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	source, err := os.ReadFile(filepath.Join(lib, "time.go"))
	if err != nil {
		return nil, err
	}
	const reads = "sec, nsec, mono := runtimeNow()\n"
	at := strings.Index(string(source), "func Now() Time {")
	if at < 0 || !strings.Contains(string(source)[at:], reads) {
		return nil, fmt.Errorf("fault: %w: time.Now of this Go release reads the clock in another way", ErrUnavailable)
	}
	off := string(source[:at]) + strings.Replace(string(source[at:]), reads, reads+"\tsec += chaosSeconds.Load()\n", 1)
	c := &Clock{Bin: filepath.Join(dir, "clock-bin"), dir: dir}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(lib, "time.go"):        filepath.Join(dir, "time.go.txt"),
		filepath.Join(lib, "chaos_clock.go"): filepath.Join(dir, "chaos_clock.go.txt"),
	}})
	if err != nil {
		return nil, err
	}
	for name, b := range map[string][]byte{
		"time.go.txt":        []byte(off),
		"chaos_clock.go.txt": fmt.Appendf(nil, clockSource, c.file()),
		"overlay.json":       overlay,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return nil, err
		}
	}
	if err := c.Set(0); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", c.Bin, pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("fault: clock: build: %w: %s", err, out)
	}
	return c, nil
}

func (c *Clock) file() string { return filepath.Join(c.dir, "offset") }

// Set steps the wall clock of every process of this program to so much before
// (negative) or after the machine's, in whole seconds.
func (c *Clock) Set(off time.Duration) error {
	tmp := c.file() + ".new"
	if err := os.WriteFile(tmp, fmt.Appendln(nil, int64(off/time.Second)), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, c.file())
}
