package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/load"
)

// run is a document with the name that it has on the page.
type run struct {
	Name string
	*Document
	points []point
}

// point is an interval, or several neighbouring ones of a long run.
type point struct {
	at                     float64 // seconds, its end
	phase                  load.Phase
	sent, received         float64 // a second
	connects               float64 // a second
	connected              float64
	p50, p99, most         float64 // nanoseconds; NaN: nothing came
	errors                 float64
	loadCores, brokerCores float64
	memory                 float64
}

// mostPoints is how many points of a run are drawn: more than that are not told
// apart on paper.
const mostPoints = 400

// points makes them of a series. Where several intervals are one point, rates are
// their mean, the median is the mean of medians by count, and p99 and the most are the worst.
func points(series []load.Interval) (out []point) {
	per := (len(series) + mostPoints - 1) / mostPoints
	var longest time.Duration
	for _, v := range series {
		longest = max(longest, v.Length)
	}
	for len(series) > 0 {
		n := 1
		for n < per && n < len(series) && series[n].Phase == series[0].Phase {
			n++
		}
		// Of a moment at the end of a phase there is no rate to speak of.
		for n < len(series) && series[n].Length < longest/20 {
			n++
		}
		out = append(out, pointOf(series[:n]))
		series = series[n:]
	}
	return out
}

// pointOf makes one point of neighbouring intervals, of the phase of the first.
func pointOf(part []load.Interval) point {
	var sum load.Interval
	median := 0.0
	for _, v := range part {
		sum.Counts.Add(v.Counts)
		sum.Length += v.Length
		sum.Connects += v.Connects
		sum.LoadCPU += v.LoadCPU
		sum.BrokerCPU += v.BrokerCPU
		sum.Latency.Count += v.Latency.Count
		sum.Latency.P99 = max(sum.Latency.P99, v.Latency.P99)
		sum.Latency.Max = max(sum.Latency.Max, v.Latency.Max)
		median += float64(v.Latency.P50) * float64(v.Latency.Count)
	}
	last := part[len(part)-1]
	p := point{
		at: last.At.Seconds(), phase: part[0].Phase, connected: float64(last.Connected), memory: float64(last.BrokerMemory),
		sent: perSecond(sum.Sent, sum.Length), received: perSecond(sum.Received, sum.Length), connects: perSecond(sum.Connects, sum.Length),
		errors: perSecond(sum.Errors, sum.Length), loadCores: busy(sum.LoadCPU, sum.Length), brokerCores: busy(sum.BrokerCPU, sum.Length),
		p50: math.NaN(), p99: math.NaN(), most: math.NaN(),
	}
	if n := sum.Latency.Count; n > 0 {
		p.p50, p.p99, p.most = median/float64(n), float64(sum.Latency.P99), float64(sum.Latency.Max)
	}
	return p
}

func busy(used, of time.Duration) float64 { return float64(used) / float64(max(1, of)) }

// charts are the plots of the runs: of one, with all that is known of it; of several,
// one line each.
func charts(runs []run) []chart {
	var all []chart
	add := func(c chart, ok bool) {
		if ok {
			all = append(all, c)
		}
	}
	exchanged := func(r run) bool { return r.Config.Verb != load.Conn && r.Total.Sent+r.Total.Received > 0 }
	rate := func(v float64) string { return figure.Rate(v) + " /s" }

	t := timeline{runs: runs, Title: "Throughput", Y: "messages a second", value: rate}
	if len(runs) == 1 {
		t.parts = []part{
			{"sent", func(r run, p point) float64 { return orNone(p.sent, r.Total.Sent > 0) }},
			{"received", func(r run, p point) float64 { return orNone(p.received, r.Total.Received > 0) }},
		}
	} else {
		t.Note = "Messages received, or sent where none are received."
		t.parts = []part{{"", func(r run, p point) float64 {
			if r.Total.Received == 0 {
				return orNone(p.sent, r.Total.Sent > 0)
			}
			return p.received
		}}}
	}
	add(t.chart())

	t = timeline{runs: runs, Title: "Latency over time", Y: "latency", value: nanoseconds, decades: true}
	// Connects come before messages and have a plot of their own.
	about := func(r run, p point, v float64) float64 {
		return orNone(v, !exchanged(r) || p.phase != load.Connecting && p.phase != load.Pinging)
	}
	if len(runs) == 1 {
		t.parts = []part{
			{"median", func(r run, p point) float64 { return about(r, p, p.p50) }},
			{"p99", func(r run, p point) float64 { return about(r, p, p.p99) }},
			{"most", func(r run, p point) float64 { return about(r, p, p.most) }},
		}
	} else {
		t.Note = "The 99th percentile of each interval."
		t.parts = []part{{"", func(r run, p point) float64 { return about(r, p, p.p99) }}}
	}
	add(t.chart())

	add(percentiles(runs))
	add(connectTimes(runs))

	t = timeline{runs: runs, Title: "Connections", Y: "connected", value: func(v float64) string { return figure.Count(int64(v)) }}
	t.parts = []part{{"connected", func(_ run, p point) float64 { return p.connected }}}
	t.area = len(runs) == 1
	add(t.chart())

	t = timeline{runs: runs, Title: "Connects", Y: "connects a second", value: rate}
	t.parts = []part{{"connects", func(r run, p point) float64 { return orNone(p.connects, !exchanged(r) && r.Rounds == 0) }}}
	add(t.chart())

	t = timeline{runs: runs, Title: "Errors", Y: "errors a second", value: rate}
	t.parts = []part{{"errors", func(r run, p point) float64 { return orNone(p.errors, r.Total.Errors > 0) }}}
	add(t.chart())

	t = timeline{runs: runs, Title: "Processor time", Y: "cores busy", value: func(v float64) string { return fmt.Sprintf("%.2f", v) }}
	brokers := part{"brokers", func(r run, p point) float64 { return orNone(p.brokerCores, len(r.Brokers) > 0) }}
	tester := part{"load tester", func(_ run, p point) float64 { return p.loadCores }}
	switch {
	case len(runs) == 1:
		t.parts = []part{brokers, tester}
	case len(runs[0].Brokers) > 0:
		t.parts, t.Note = []part{brokers}, "Of the brokers."
	default:
		t.parts, t.Note = []part{tester}, "Of the load tester."
	}
	add(t.chart())

	t = timeline{runs: runs, Title: "Memory of the brokers", Y: "resident memory", value: func(v float64) string { return figure.Bytes(int64(v)) }, binary: true}
	t.parts = []part{{"resident", func(r run, p point) float64 { return orNone(p.memory, len(r.Brokers) > 0) }}}
	add(t.chart())
	return all
}

func orNone(v float64, ok bool) float64 {
	if ok {
		return v
	}
	return math.NaN()
}

func nanoseconds(v float64) string { return figure.Duration(time.Duration(v)) }

// timeline is a chart over the time of runs.
type timeline struct {
	runs           []run
	Title, Note, Y string
	parts          []part
	value          func(float64) string
	decades, area  bool
	binary         bool // bytes, of which round numbers are powers of two
}

// part is one line of each run.
type part struct {
	name string
	of   func(run, point) float64
}

// chart makes it, unless there is nothing to see.
func (t timeline) chart() (chart, bool) {
	c := chart{Title: t.Title, Note: t.Note, Y: t.Y, X: "time since the run began", valued: t.value,
		named: func(x float64) string { return "at " + figure.Clock(time.Duration(x*float64(time.Second))) }}
	end, least, most := 0.0, math.Inf(1), 0.0
	for _, r := range t.runs {
		for _, p := range r.points {
			end = max(end, p.at)
		}
	}
	// Several runs have their points at times of their own; to be compared they are
	// put into columns as wide as the points of one of them are apart.
	column := 1e-6
	if len(t.runs) > 1 {
		c.joined = true
		for _, r := range t.runs {
			if n := len(r.points); n > 0 {
				column = max(column, r.points[n-1].at/float64(n))
			}
		}
	}
	place := func(p point) float64 { return math.Round(p.at/column) * column }
	index := make(map[float64]int)
	for _, r := range t.runs {
		for _, p := range r.points {
			at := place(p)
			if _, ok := index[at]; !ok {
				index[at] = 0
				c.xs = append(c.xs, at)
			}
		}
	}
	slices.Sort(c.xs)
	for i, at := range c.xs {
		index[at] = i
	}
	for _, r := range t.runs {
		for _, part := range t.parts {
			s := series{name: part.name, area: t.area, ys: make([]float64, len(c.xs))}
			if len(t.runs) > 1 {
				s.name = r.Name
			}
			for i := range s.ys {
				s.ys[i] = math.NaN()
			}
			seen := false
			for _, p := range r.points {
				v := part.of(r, p)
				s.ys[index[place(p)]] = v
				if !math.IsNaN(v) {
					seen = true
					least, most = min(least, v), max(most, v)
				}
			}
			if seen {
				c.series = append(c.series, s)
			}
		}
	}
	if len(c.series) == 0 || most == 0 {
		return c, false
	}
	c.x = clock(end)
	switch {
	case t.decades:
		c.y = decades(least, most, t.value)
	case t.binary:
		unit := math.Pow(1024, math.Floor(math.Log(most)/math.Log(1024)))
		c.y = fromZero(most/unit, func(v float64) string { return t.value(v * unit) })
		c.y.most *= unit
	default:
		c.y = fromZero(most, figure.Short)
	}
	if len(t.runs) == 1 {
		c.bands = bands(t.runs[0].points)
	}
	return c, true
}

// bands are the phases of a run.
func bands(points []point) (out []band) {
	from := 0.0
	for i, p := range points {
		if i+1 < len(points) && points[i+1].phase == p.phase {
			continue
		}
		out = append(out, band{string(p.phase), from, p.at})
		from = p.at
	}
	return out
}

// percentiles is the plot in which tails are seen: the further to the right, the
// fewer samples are slower.
func percentiles(runs []run) (chart, bool) {
	c := chart{
		Title: "Latency by percentile", Y: "latency", X: "share of samples that are at least as fast", valued: nanoseconds,
		named: func(x float64) string {
			return strconv.FormatFloat(100*(1-math.Pow(10, -x)), 'f', max(0, int(math.Ceil(x))-1), 64) + " %"
		},
		Note: "Each nine takes as much room as the one before. A line that stays flat to the right has no tail.",
	}
	type line struct {
		name string
		h    *load.Histogram
	}
	var lines []line
	for _, r := range runs {
		for i, d := range distributions(r.Latency) {
			switch {
			case len(runs) == 1:
				lines = append(lines, line{d.Name, d.Histogram})
			case i == 0:
				lines = append(lines, line{r.Name + ", " + d.Name, d.Histogram})
			}
		}
	}
	if len(lines) == 0 {
		return c, false
	}
	var most uint64
	for _, l := range lines {
		most = max(most, l.h.Count())
	}
	c.x = nines(most)
	const steps = 20 // for each nine
	for i := range int(c.x.most*steps) + 1 {
		c.xs = append(c.xs, float64(i)/steps)
	}
	low, high := math.Inf(1), 0.0
	for _, l := range lines {
		s := series{name: l.name}
		for _, x := range c.xs {
			v := math.NaN()
			if x <= nines(l.h.Count()).most { // beyond, there are no samples to speak of
				v = float64(l.h.Quantile(1 - math.Pow(10, -x)))
				low, high = min(low, v), max(high, v)
			}
			s.ys = append(s.ys, v)
		}
		c.series = append(c.series, s)
	}
	c.y = decades(max(low, 1), high, nanoseconds)
	return c, true
}

// connectTimes is how long connects took, in bars of equal ratio.
func connectTimes(runs []run) (chart, bool) {
	c := chart{
		Title: "Connect times", Y: "connections", X: "from the first SYN to CONNACK", bars: true,
		valued: func(v float64) string { return figure.Count(int64(v)) },
	}
	if len(runs) != 1 || runs[0].Latency.Connect == nil || runs[0].Latency.Connect.Count() == 0 {
		return c, false
	}
	const perDecade = 12
	h := runs[0].Latency.Connect
	bin := func(d time.Duration) int { return int(math.Floor(math.Log10(float64(max(d, 1))) * perDecade)) }
	count := make(map[int]uint64)
	first, last := math.MaxInt, math.MinInt
	for d, n := range h.All() {
		b := bin(d)
		count[b] += n
		first, last = min(first, b), max(last, b)
	}
	edge := func(b int) float64 { return math.Pow(10, float64(b)/perDecade) }
	s, most := series{name: "connections"}, 0.0
	for b := first - 1; b <= last+2; b++ {
		c.xs = append(c.xs, edge(b))
		s.ys = append(s.ys, float64(count[b]))
		most = max(most, float64(count[b]))
	}
	c.series = []series{s}
	c.x = decades(edge(first-1), edge(last+2), nanoseconds)
	c.x.clamp(edge(first-1), edge(last+2))
	c.y = fromZero(most, figure.Short)
	c.named = func(x float64) string {
		return nanoseconds(x) + " to " + nanoseconds(x*math.Pow(10, 1.0/perDecade))
	}
	return c, true
}
