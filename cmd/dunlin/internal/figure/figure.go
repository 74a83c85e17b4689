// Package figure writes numbers the way people read them: three digits that
// matter, the unit that fits, thousands set apart. What scripts read is written
// elsewhere, in base units.
package figure

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Count is a whole number with its thousands apart: 1,234,567.
func Count[N ~int | ~int64 | ~uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	first := 0
	if s[0] == '-' {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Short is a number in at most five characters: 950, 12.3k, 4.57M.
func Short(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	const units = "kMGT"
	if math.Abs(v) < 999.5 {
		if v == math.Trunc(v) {
			return strconv.FormatFloat(v, 'f', 0, 64)
		}
		return digits(v)
	}
	unit := -1
	for math.Abs(v) >= 999.5 && unit < len(units)-1 {
		v, unit = v/1000, unit+1
	}
	return digits(v) + units[unit:unit+1]
}

// Rate is so many a second: to the whole from 100 on, else with three digits.
func Rate(v float64) string {
	if v >= 100 && v < 1e15 {
		return Count(int64(math.Round(v)))
	}
	return Short(v)
}

// digits is v with three digits, below 1,000.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// Bytes is a number of bytes: 1 byte, 950 bytes, 12.3 KiB.
func Bytes[N ~int | ~int64 | ~uint64](n N) string {
	const units = "KMGT"
	if n == 1 {
		return "1 byte"
	}
	v, unit := float64(n)/1024, 0
	if v < 1 {
		return fmt.Sprintf("%d bytes", n)
	}
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// Duration is a time of which three digits matter: 850 ns, 12.3 µs, 4.57 ms,
// 1.20 s, and from two minutes on as a Clock.
func Duration(d time.Duration) string {
	switch v := float64(d); {
	case d == 0:
		return "0"
	case math.Abs(v) < 999.5:
		return strconv.FormatFloat(v, 'f', 0, 64) + " ns"
	case math.Abs(v) < 999.5e3:
		return digits(v/1e3) + " µs"
	case math.Abs(v) < 999.5e6:
		return digits(v/1e6) + " ms"
	case d.Abs() < 2*time.Minute:
		return digits(v/1e9) + " s"
	}
	return Clock(d)
}

// Clock is a time to the second: 0:07, 12:34, 1:02:03.
func Clock(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Percent is a share of one, never 100 % before all of it: 0.0 %, 99.9 %, 100 %.
func Percent(share float64) string {
	switch {
	case share >= 1:
		return "100 %"
	case share > 0.999:
		return "99.9 %"
	}
	return strconv.FormatFloat(share*100, 'f', 1, 64) + " %"
}
