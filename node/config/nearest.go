package config

import "strings"

// unknown says that key is none of keys and which it might have been.
func unknown(key string, keys []string) string {
	if n := Nearest(key, keys); n != "" {
		return "unknown setting, did you mean " + n + "?"
	}
	return "unknown setting"
}

// Nearest is the key of keys that is fewest edits away from key, or has it as
// its last part; "" if none is near.
func Nearest(key string, keys []string) string {
	best, least := "", max(2, len(key)/3)+1
	if len(key) > 100 {
		return ""
	}
	for _, k := range keys {
		d := distance(key, k)
		if strings.HasSuffix(k, "."+key) {
			d = 1
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace that makes b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
