// Package terminal says whether a person looks at an output, and shows them a
// status that changes in place. Elsewhere than on a terminal that wants it nothing
// is moved and nothing coloured.
package terminal

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Is says whether w is a terminal.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Colours says whether w is a terminal that wants colours (https://no-color.org).
func Colours(w io.Writer) bool {
	return Is(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Size is how many characters and lines w shows; 80 by 24 if it does not say.
func Size(w io.Writer) (columns, lines int) {
	if f, ok := w.(*os.File); ok {
		if c, l, err := term.GetSize(int(f.Fd())); err == nil && c > 0 && l > 0 {
			return c, l
		}
	}
	return 80, 24
}
