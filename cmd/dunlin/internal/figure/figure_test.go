package figure

import (
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(0), "0"},
		{Count(999), "999"},
		{Count(1000), "1,000"},
		{Count(-1234567), "-1,234,567"},
		{Count(-123), "-123"},
		{Count(uint64(20000)), "20,000"},
		{Short(0), "0"},
		{Short(0.25), "0.25"},
		{Short(999.4), "999"},
		{Short(999.6), "1.00k"},
		{Short(12345), "12.3k"},
		{Short(999_960), "1.00M"},
		{Short(4.567e6), "4.57M"},
		{Rate(0.5), "0.50"},
		{Rate(10_000.4), "10,000"},
		{Bytes(1), "1 byte"},
		{Bytes(0), "0 bytes"},
		{Bytes(1023), "1023 bytes"},
		{Bytes(1536), "1.5 KiB"},
		{Bytes(int64(3) << 40), "3.0 TiB"},
		{Duration(0), "0"},
		{Duration(850), "850 ns"},
		{Duration(12345), "12.3 µs"},
		{Duration(999_960), "1.00 ms"},
		{Duration(4567 * time.Microsecond), "4.57 ms"},
		{Duration(1200 * time.Millisecond), "1.20 s"},
		{Duration(119 * time.Second), "119 s"},
		{Duration(3723 * time.Second), "1:02:03"},
		{Clock(7 * time.Second), "0:07"},
		{Clock(754 * time.Second), "12:34"},
		{Percent(0.99999), "99.9 %"},
		{Percent(1), "100 %"},
		{Percent(0.1234), "12.3 %"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
