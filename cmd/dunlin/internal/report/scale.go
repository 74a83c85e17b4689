package report

import (
	"math"
	"regexp"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
)

// A scale places values along an axis: from 0 for its least to 1 for its most.
type scale struct {
	least, most float64
	logarithmic bool
	ticks       []tick
}

// tick is a value that the axis names.
type tick struct {
	at   float64 // 0 to 1
	text string
}

func (s scale) place(v float64) float64 {
	if s.logarithmic {
		return (math.Log10(max(v, s.least)) - math.Log10(s.least)) / (math.Log10(s.most) - math.Log10(s.least))
	}
	return (v - s.least) / (s.most - s.least)
}

// round is the least of 1, 2 or 5 times a power of ten that is not below v.
func round(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if v <= f*power*(1+1e-9) {
			return f * power
		}
	}
	return 10 * power
}

// fromZero is a scale from 0 to a round value not below most, with about five ticks.
func fromZero(most float64, text func(float64) string) scale {
	step := round(max(most, 1e-9) / 5)
	n := int(math.Ceil(most/step - 1e-9))
	s := scale{most: step * float64(max(n, 1))}
	for i := range max(n, 1) + 1 {
		s.tick(step*float64(i), text)
	}
	return s
}

// decades is a logarithmic scale around the values from least to most.
func decades(least, most float64, text func(float64) string) scale {
	s := scale{logarithmic: true, least: 1, most: 10}
	if least <= 0 || most < least {
		return s
	}
	below := func(v float64) float64 { // the greatest of 1, 2 or 5 times a power of ten that is not above v
		power := math.Pow(10, math.Floor(math.Log10(v)+1e-9))
		for _, f := range []float64{5, 2} {
			if v >= f*power*(1-1e-9) {
				return f * power
			}
		}
		return power
	}
	s.least, s.most = below(least), round(most)
	if s.most <= s.least {
		s.most = s.least * 10
	}
	steps := []float64{1, 2, 5}
	if s.most/s.least > 1e3 {
		steps = []float64{1}
	}
	for power := math.Pow(10, math.Floor(math.Log10(s.least)+1e-9)); power <= s.most*(1+1e-9); power *= 10 {
		for _, f := range steps {
			if v := f * power; v >= s.least*(1-1e-9) && v <= s.most*(1+1e-9) {
				s.tick(v, text)
			}
		}
	}
	return s
}

// clock is a scale of time from 0 to most, in seconds, with ticks that a clock has.
func clock(most float64) scale {
	s := scale{most: max(most, 1)}
	steps := []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 24 * 3600}
	step := steps[len(steps)-1]
	for _, one := range steps {
		if s.most/one <= 8 {
			step = one
			break
		}
	}
	for v := 0.0; v <= s.most+1e-9; v += step {
		s.tick(v, func(v float64) string { return figure.Clock(time.Duration(v * float64(time.Second))) })
	}
	return s
}

// nines is the scale of an HDR plot: each nine of the quantile takes as much room as
// the one before, up to where n samples end.
func nines(n uint64) scale {
	most := max(1, math.Floor(math.Log10(float64(max(n, 1)))))
	s := scale{most: most}
	for i, text := range []string{"0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"} {
		if float64(i) <= most {
			s.ticks = append(s.ticks, tick{float64(i) / most, text})
		}
	}
	if most < 4 {
		s.ticks = append(s.ticks, tick{math.Log10(2) / most, "50 %"})
	}
	return s
}

// clamp has a logarithmic scale end at these values.
func (s *scale) clamp(least, most float64) {
	kept := s.ticks[:0]
	for _, t := range s.ticks {
		v := math.Pow(10, math.Log10(s.least)+t.at*(math.Log10(s.most)-math.Log10(s.least)))
		at := (math.Log10(v) - math.Log10(least)) / (math.Log10(most) - math.Log10(least))
		if at >= 0 && at <= 1 {
			kept = append(kept, tick{at, t.text})
		}
	}
	s.least, s.most, s.ticks = least, most, kept
}

func (s *scale) tick(v float64, text func(float64) string) {
	s.ticks = append(s.ticks, tick{s.place(v), zeros.ReplaceAllString(text(v), "$1$2$3")})
}

// zeros are those after a point that say nothing.
var zeros = regexp.MustCompile(`\.0+([^0-9]|$)|(\.[0-9]*[1-9])0+([^0-9]|$)`)
