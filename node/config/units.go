package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Units of size, powers of 1024 with and without the i: what people who write
// 1MB in a broker's file get from other brokers too.
var units = []struct {
	name  string
	bytes int64
}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}}

// parseSize reads 512, 512B, 64KB, 64KiB, 1.5MB.
func parseSize(s string) (int64, bool) {
	num, unit := s, int64(1)
	if i := strings.IndexFunc(s, func(r rune) bool { return r >= 'A' }); i >= 0 {
		num = s[:i]
		name := strings.Replace(strings.ToUpper(s[i:]), "IB", "B", 1)
		unit = 0
		if name == "B" {
			unit = 1
		}
		for _, u := range units {
			if name == u.name {
				unit = u.bytes
			}
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	b := f * float64(unit)
	if err != nil || unit == 0 || !(b >= 0 && b < math.MaxInt64/2) || b != math.Trunc(b) {
		return 0, false
	}
	return int64(b), true
}

// formatSize is the shortest exact form that parseSize reads.
func formatSize(n int64) string {
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// formatDuration is Duration.String without the trailing zeros: 720h, not 720h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if d == 0 {
		return "0"
	}
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
