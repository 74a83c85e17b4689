package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// Status is lines at the bottom of a terminal that are replaced as a whole. Each
// time is one write, which terminals that know how (mode 2026) show at once. Where
// nobody looks it writes nothing. One goroutine uses it.
type Status struct {
	to    io.Writer // nil: nobody looks
	size  func() (columns, lines int)
	next  time.Time // the earliest time for Line
	shown []int     // characters of each line that is there now
}

// every is how often Line changes what is shown.
const every = 100 * time.Millisecond

// NewStatus shows a status on w if it is a terminal that can move its cursor.
func NewStatus(w io.Writer) *Status {
	if !Is(w) || os.Getenv("TERM") == "dumb" {
		return &Status{}
	}
	return StatusOn(w, func() (int, int) { return Size(w) })
}

// StatusOn shows a status on w, which is a terminal of that size.
func StatusOn(w io.Writer, size func() (columns, lines int)) *Status {
	return &Status{to: w, size: size}
}

// Visible says whether anybody looks.
func (s *Status) Visible() bool { return s.to != nil }

// Line shows a single line; of several in short order only the first.
func (s *Status) Line(format string, args ...any) {
	if now := time.Now(); s.to != nil && now.After(s.next) {
		s.next = now.Add(every)
		s.Show([]string{fmt.Sprintf(format, args...)})
	}
}

// Show replaces what is there by lines, cut to the terminal's width. Their only
// control sequences are those of Style.
func (s *Status) Show(lines []string) {
	if s.to == nil {
		return
	}
	columns, rows := s.size()
	lines = lines[:min(len(lines), max(1, rows-1))]
	var b strings.Builder
	b.WriteString("\x1b[?2026h")
	s.home(&b, columns)
	s.shown = s.shown[:0]
	for _, l := range lines {
		l, width := cut(l, columns-1) // a full line would wrap on some terminals
		b.WriteString(l)
		b.WriteString("\x1b[K\n")
		s.shown = append(s.shown, width)
	}
	b.WriteString("\x1b[J\x1b[?2026l")
	io.WriteString(s.to, b.String())
}

// Clear takes the lines away, so that something else may be written.
func (s *Status) Clear() {
	if s.to == nil || len(s.shown) == 0 {
		return
	}
	columns, _ := s.size()
	var b strings.Builder
	s.home(&b, columns)
	b.WriteString("\x1b[J")
	s.shown = s.shown[:0]
	io.WriteString(s.to, b.String())
}

// home moves the cursor to where the lines begin. Those that were written on a wider
// terminal take more than one row now.
func (s *Status) home(b *strings.Builder, columns int) {
	rows := 0
	for _, width := range s.shown {
		rows += max(1, (width+columns-1)/columns)
	}
	if rows > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r", rows)
	}
}

// Style is how text looks where there are colours.
type Style string

const (
	Plain  Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Text is text in that style.
func (s Style) Text(text string) string {
	if s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// cut leaves the first width characters of a line, and says how many there are.
// Styles take no room.
func cut(line string, width int) (string, int) {
	var b strings.Builder
	n, styled := 0, false
	for rest := line; rest != ""; {
		if args, ok := strings.CutPrefix(rest, "\x1b["); ok {
			if end := len(args) - len(strings.TrimLeft(args, "0123456789;")); strings.HasPrefix(args[end:], "m") {
				b.WriteString("\x1b[" + args[:end+1])
				styled, rest = args[:end] != "0", args[end+1:]
				continue
			}
		}
		r, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		if n == width {
			continue // styles that follow are kept, and end what they began
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			r = '?' // nobody else moves the cursor
		}
		b.WriteRune(r)
		n++
	}
	if styled {
		b.WriteString("\x1b[0m")
	}
	return b.String(), n
}
