package auth

import "strings"

// covers says whether every topic that the filter narrow matches is matched by
// wide too. Both are valid patterns without a share prefix.
func covers(wide, narrow string) bool {
	for {
		w, wrest, wmore := strings.Cut(wide, "/")
		n, nrest, nmore := strings.Cut(narrow, "/")
		switch {
		case w == "#":
			return true
		case n == "#":
			return false
		case w != "+" && w != n:
			return false
		case !wmore && !nmore:
			return true
		case !nmore:
			// "a/#" matches "a" as well.
			return wrest == "#"
		case !wmore:
			return false
		}
		wide, narrow = wrest, nrest
	}
}
