package terminal

import (
	"bytes"
	"strings"
	"testing"
)

// screen is a terminal of a few rows and columns, as far as Status uses one.
type screen struct {
	columns, rows int
	cells         [][]rune
	x, y          int
}

func (s *screen) Write(b []byte) (int, error) {
	for text := string(b); text != ""; {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexAny(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
			s.control(rest[:end], rest[end])
			text = rest[end+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\r':
			s.x = 0
		case '\n':
			s.x, s.y = 0, s.y+1
			s.line(s.y)
		default:
			if s.x == s.columns {
				s.x, s.y = 0, s.y+1
			}
			line := s.line(s.y)
			line[s.x] = r
			s.x++
		}
	}
	return len(b), nil
}

func (s *screen) line(y int) []rune {
	for len(s.cells) <= y {
		s.cells = append(s.cells, []rune(strings.Repeat(" ", s.columns)))
	}
	return s.cells[y]
}

func (s *screen) control(args string, verb byte) {
	switch verb {
	case 'A':
		n := 0
		for _, c := range args {
			n = n*10 + int(c-'0')
		}
		s.y = max(0, s.y-n)
	case 'K':
		for x := s.x; x < s.columns; x++ {
			s.line(s.y)[x] = ' '
		}
	case 'J':
		s.control("", 'K')
		s.cells = s.cells[:s.y+1]
	}
}

func (s *screen) String() string {
	var lines []string
	for _, l := range s.cells {
		lines = append(lines, strings.TrimRight(string(l), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func TestStatus(t *testing.T) {
	sc := &screen{columns: 12, rows: 5}
	st := StatusOn(sc, func() (int, int) { return sc.columns, sc.rows })
	sc.Write([]byte("before\n"))
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{"one", "two"}, "before\none\ntwo"},
		{[]string{"1"}, "before\n1"},
		{[]string{"a line that is too long", "b"}, "before\na line that\nb"},
		{[]string{Red.Text("red") + " " + Bold.Text("and more than fits")}, "before\nred and mor"},
		{[]string{"1", "2", "3", "4", "5", "6"}, "before\n1\n2\n3\n4"},
		{[]string{"\x1b[2Jm"}, "before\n?[2Jm"},
		{[]string{"tab\tand\x1b]0;title"}, "before\ntab?and?]0;"},
	} {
		st.Show(c.lines)
		if got := sc.String(); got != c.want {
			t.Errorf("%q shows\n%s\nwant\n%s", c.lines, got, c.want)
		}
	}
	st.Clear()
	st.Clear()
	sc.Write([]byte("after"))
	if got := sc.String(); got != "before\nafter" {
		t.Errorf("left %q", got)
	}
}

// TestNarrowed: a line that a narrower terminal has wrapped is taken away whole.
func TestNarrowed(t *testing.T) {
	var b bytes.Buffer
	columns := 20
	st := StatusOn(&b, func() (int, int) { return columns, 10 })
	st.Show([]string{"eighteen character", "short"})
	columns = 10
	b.Reset()
	st.Clear()
	if got := b.String(); got != "\x1b[3A\r\x1b[J" {
		t.Errorf("%q", got)
	}
}

func TestStyleEnds(t *testing.T) {
	got, n := cut(Red.Text("abcdef")+"g", 3)
	if got != "\x1b[31mabc\x1b[0m" || n != 3 {
		t.Errorf("%q, %d", got, n)
	}
}

func TestNobodyLooks(t *testing.T) {
	var b bytes.Buffer
	st := NewStatus(&b)
	st.Line("x")
	st.Show([]string{"x"})
	st.Clear()
	if b.Len() > 0 || st.Visible() || Is(&b) || Colours(&b) {
		t.Errorf("%q", b.String())
	}
}
