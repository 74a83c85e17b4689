package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
)

// record is a line as a machine reads it.
type record struct {
	What, Who, From, Client, Target, Result, Why string
	LeftOut                                      int `json:"left_out"`
}

func read(t *testing.T, text string) (all []record) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		all = append(all, r)
	}
	return all
}

// open returns a log into a buffer, to be read when it is closed.
func open(t *testing.T) (*Log, *bytes.Buffer) {
	t.Helper()
	out := new(bytes.Buffer)
	l, err := Open(Options{Log: slog.New(slog.NewJSONHandler(out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return l, out
}

// A flood of refusals has a few lines and all their number; a change has its line all the
// same.
func TestFloodIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := open(t)
		for i := range 10_000 {
			l.Refused(Connect, func() Event { return Event{Client: fmt.Sprint("c", i), From: "192.0.2.1:5"} })
			l.Refused(Publish, func() Event { return Event{Client: "p"} })
		}
		l.Did(Event{What: "token.create", Who: "uid 0", Target: "ops", Result: Done})
		synctest.Wait()
		time.Sleep(time.Second) // virtual: the budget has lines again
		l.Refused(Connect, func() Event { return Event{Client: "late"} })
		l.Close()
		lines, sum := map[string]int{}, map[string]int{}
		for _, r := range read(t, out.String()) {
			lines[r.What]++
			sum[r.What] += r.LeftOut
			if r.Client == "late" && r.LeftOut != 10_000-burst {
				t.Errorf("the line after the flood: %+v", r)
			}
			if r.Client != "" {
				sum[r.What]++
			}
		}
		if lines["connect"] != burst+1 || sum["connect"] != 10_001 || lines["publish"] != burst+1 || sum["publish"] != 10_000 || lines["token.create"] != 1 {
			t.Errorf("%v lines for %v", lines, sum)
		}
		if c := l.Counts(); c.LeftOut != 2*(10_000-burst) || c.Dropped != 0 || c.Written != uint64(2*(burst+1)+1) {
			t.Errorf("%+v", c)
		}
	})
}

// What was left out is told even if nobody comes any more.
func TestSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := open(t)
		defer l.Close()
		for range 100 {
			l.Refused(Stranger, func() Event { return Event{From: "192.0.2.1"} })
		}
		time.Sleep(summary + time.Second)
		synctest.Wait()
		all := read(t, out.String())
		if last := all[len(all)-1]; len(all) != burst+1 || last.LeftOut != 100-burst || last.What != "stranger" {
			t.Errorf("%d lines, the last %+v", len(all), last)
		}
	})
}

// stuck blocks until it is freed.
type stuck struct{ free chan struct{} }

func (s stuck) Write(b []byte) (int, error) {
	<-s.free
	return len(b), nil
}

// A disk that hangs holds nobody who was refused, and a change for a second.
func TestNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stuck{make(chan struct{})}
		l, err := Open(Options{Log: slog.New(slog.NewJSONHandler(s, nil))})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 2 * queueLines {
			l.Refused(Connect, func() Event { return Event{} })
			time.Sleep(time.Second / perSecond)
		}
		if took := time.Since(began); took != 2*queueLines*time.Second/perSecond {
			t.Errorf("refusals waited: %v", took)
		}
		if c := l.Counts(); c.Dropped < queueLines-2 {
			t.Errorf("%+v", c)
		}
		began = time.Now()
		l.Did(Event{})
		if took := time.Since(began); took != patience {
			t.Errorf("a change waited %v", took)
		}
		close(s.free)
		l.Close()
	})
}

// Case 55: what clients say is cut and quoted, and cannot make a line of its own.
func TestTextOfClients(t *testing.T) {
	l, out := open(t)
	texts := map[string]string{
		"plain":     "sensor-7/ä",
		"newline":   "a\n{\"what\":\"token.create\"}",
		"escape":    "\x1b[2J\x1b[31mred",
		"bidi":      "user\u202etxt.exe",
		"no UTF-8":  "a\xff\xfe",
		"huge":      strings.Repeat("ä", 64<<10),
		"huge junk": strings.Repeat("\x00", 64<<10),
	}
	for name, text := range texts {
		l.Did(Event{What: name, Client: text, Who: text, Target: text, Why: text, From: text})
	}
	l.Close()
	all := read(t, out.String())
	if len(all) != len(texts) {
		t.Fatalf("%d lines", len(all))
	}
	for _, r := range all {
		for _, got := range []string{r.Client, r.Who, r.Target, r.Why, r.From} {
			if len(got) > 6*maxText || strings.ContainsAny(got, "\n\x1b\u202e\x00") {
				t.Errorf("%s: %q", r.What, got)
			}
		}
		switch {
		case r.What == "plain" && r.Client != texts["plain"]:
			t.Errorf("changed to %q", r.Client)
		case r.What == "huge" && r.Client != strings.Repeat("ä", maxText/2)+"...":
			t.Errorf("cut to %q", r.Client)
		}
	}
	if strings.Contains(clean("x"+strings.Repeat("ä", 100)), `\x`) {
		t.Error("cut within a character")
	}
}

func TestNilTakesEverything(t *testing.T) {
	var l *Log
	l.Did(Event{})
	l.Refused(Connect, func() Event { return Event{} })
	l.Close()
	if l.Counts() != (Counts{}) {
		t.Error("counted")
	}
}

func TestFileIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("{\"what\":\"before\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{File: path, MaxSize: 1000, Keep: 2, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100
	for i := range n {
		l.Did(Event{What: fmt.Sprint("change ", i), Result: Done})
	}
	l.Close()
	next := n - 1
	for _, name := range []string{path, path + ".1", path + ".2"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil || info.Size() > 1000 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		all := read(t, string(b))
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].What != fmt.Sprint("change ", next) {
				t.Fatalf("%s has %q where change %d belongs", name, all[i].What, next)
			}
			next--
		}
	}
	if _, err := os.Stat(path + ".3"); !os.IsNotExist(err) {
		t.Error("more files are kept than asked for")
	}
	if c := l.Counts(); c.Written != n || c.Failed != 0 {
		t.Errorf("%+v", c)
	}
}

// A disk that takes nothing is counted and told of once, in the node's log.
func TestFileThatFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Options{File: dir, MaxSize: 1000, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a directory is taken for a file")
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	var own bytes.Buffer
	l, err := Open(Options{File: filepath.Join(dir, "audit.log"), MaxSize: 1000, Log: slog.New(slog.NewTextHandler(&own, nil))})
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.file.close()
	l.file.f = full
	for range 3 {
		l.Did(Event{What: "x"})
	}
	l.Close()
	if c := l.Counts(); c.Failed != 3 || strings.Count(own.String(), "cannot be written") != 1 {
		t.Errorf("%+v, told %q", c, own.String())
	}
}

func BenchmarkRefusedBeyondTheBudget(b *testing.B) {
	l, err := Open(Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		l.Refused(Publish, func() Event { return Event{Client: "c", Target: "a/b"} })
	}
}

// FuzzText has clients say anything: it is one line, which a machine reads, of bounded
// length and without what moves a cursor (case 55).
func FuzzText(f *testing.F) {
	f.Add("a\n{\"what\":\"token.create\"}", "\x1b[2J")
	f.Add("\xff\u202e", strings.Repeat("ä", 1000))
	f.Fuzz(func(t *testing.T, client, target string) {
		l, out := open(t)
		l.Did(Event{What: "x", Client: client, Target: target})
		l.Close()
		all := read(t, out.String())
		if len(all) != 1 || strings.Count(out.String(), "\n") != 1 {
			t.Fatalf("%q", out)
		}
		for _, got := range []string{all[0].Client, all[0].Target} {
			if len(got) > 6*maxText || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q", got)
			}
		}
	})
}
