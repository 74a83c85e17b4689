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

// sleeper is a process that stays until the end of the test.
func sleeper(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// TestCPU: a process that would take all there is gets what it is left.
func TestCPU(t *testing.T) {
	cmd := sleeper(t, "sh", "-c", "while :; do :; done")
	release, err := CPU(cmd.Process.Pid, 0.1)
	available(t, err)
	used := func() (ticks int) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscan(strings.Fields(string(b))[13], &ticks)
		return ticks
	}
	before := used()
	<-time.After(time.Second)
	if took := used() - before; took > 50 { // hundredths of a second
		t.Errorf("it took %d of 100", took)
	}
	release()
	if left, _ := filepath.Glob(groups + "/*/dunlin-chaos-cpu-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestMemory: a process that takes more than it may have is killed.
func TestMemory(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read go; x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo ${#x}")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release, err := Memory(cmd.Process.Pid, 16<<20)
	fmt.Fprintln(in)
	ended := cmd.Wait()
	available(t, err)
	release()
	if ended == nil {
		t.Error("it had its memory")
	}
}

// TestFiles: a process cannot open more than it may.
func TestFiles(t *testing.T) {
	cmd := sleeper(t, "sleep", "60")
	release, err := Files(cmd.Process.Pid, 7)
	available(t, err)
	limit := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
		_, after, _ := strings.Cut(string(b), "Max open files")
		return strings.Fields(after)[0]
	}
	if got := limit(); got != "7" {
		t.Errorf("it may open %s", got)
	}
	release()
	if got := limit(); got == "7" {
		t.Error("it is bounded after the release")
	}
}
