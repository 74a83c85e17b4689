package fault

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be a process that syncs a file, once per line of
// its input, and says how that went.
func TestMain(m *testing.M) {
	if path := os.Getenv("FAULT_TEST_SYNC"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			os.Exit(1)
		}
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			start := time.Now()
			f.WriteString(in.Text())
			err := f.Sync()
			fmt.Printf("%d %v\n", time.Since(start).Milliseconds(), err)
		}
		return
	}
	os.Exit(m.Run())
}

func available(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSync(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULT_TEST_SYNC="+filepath.Join(t.TempDir(), "file"))
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	sync := func() (took time.Duration, said string) {
		t.Helper()
		fmt.Fprintln(in, "x")
		if !lines.Scan() {
			t.Fatal("the process has ended")
		}
		ms, said, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(ms)
		return time.Duration(n) * time.Millisecond, said
	}
	if _, said := sync(); said != "<nil>" {
		t.Fatal(said)
	}
	stop, err := Sync{Delay: 200 * time.Millisecond}.Attach(cmd.Process.Pid)
	available(t, err)
	if took, said := sync(); took < 200*time.Millisecond || said != "<nil>" {
		t.Errorf("slow: %v after %v", said, took)
	}
	stop()
	stop, err = Sync{Error: "EIO"}.Attach(cmd.Process.Pid)
	available(t, err)
	if _, said := sync(); !strings.Contains(said, "input/output error") {
		t.Errorf("broken: %s", said)
	}
	stop()
	if _, said := sync(); said != "<nil>" {
		t.Errorf("after the fault: %s", said)
	}
}

// TestPower: what was synced survives, what was not does not.
func TestPower(t *testing.T) {
	d, err := Mount(1, 32<<20)
	available(t, err)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := os.MkdirAll(d.Dir(0), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Dir(0), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("synced")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(d.Dir(0))
	if err != nil {
		t.Fatal(err)
	}
	dir.Sync()
	dir.Close()
	f.WriteString(" and not")
	available(t, d.Cut(0))
	if f.Sync() == nil {
		t.Error("a disk without power syncs")
	}
	f.Close()
	if err := d.Restore(0); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); string(b) != "synced" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestClock: a program's wall clock follows the file, the monotonic does not.
func TestClock(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module clock\n",
		"main.go": `package main

import ("bufio"; "fmt"; "os"; "time")

func main() {
	start := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().Unix(), int(time.Since(start).Seconds()))
	}
}
`} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := BuildClock(root, ".", t.TempDir())
	available(t, err)
	cmd := exec.Command(c.Bin)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	for _, off := range []time.Duration{0, 2 * time.Hour, -3 * time.Hour} {
		if err := c.Set(off); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); ; {
			fmt.Fprintln(in)
			if !lines.Scan() {
				t.Fatal("the program has ended")
			}
			var wall, since int64
			fmt.Sscan(lines.Text(), &wall, &since)
			if since < 0 || since > 60 {
				t.Fatalf("the monotonic clock shows %d s", since)
			}
			if got := time.Until(time.Unix(wall, 0)) - off; got.Abs() < 5*time.Second {
				break
			} else if time.Now().After(end) {
				t.Fatalf("with %v it is off by %v", off, got+off)
			}
		}
	}
}
