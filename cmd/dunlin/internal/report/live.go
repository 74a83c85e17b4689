package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/terminal"
)

// Live shows a run while it goes on: on a terminal a few lines that change in place,
// elsewhere a line now and then. Observe is a load.Observer; one goroutine uses a Live.
type Live struct {
	view   view
	status *terminal.Status
	width  func() int
	plain  io.Writer // where status has nobody who looks
	next   time.Time
	now    func() time.Time
}

// plainEvery is how often a line is written where it stays.
const plainEvery = 5 * time.Second

// NewLive shows a run on w.
func NewLive(w io.Writer, c load.Config) *Live {
	l := &Live{
		view: view{config: c, colours: terminal.Colours(w)}, status: terminal.NewStatus(w), plain: w, now: time.Now,
		width: func() int { columns, _ := terminal.Size(w); return columns },
	}
	return l
}

// Observe shows how far the run is.
func (l *Live) Observe(p load.Progress) {
	now := l.now()
	changed := l.view.take(p, now)
	if l.status.Visible() {
		l.status.Show(l.view.lines(l.width()-1, now))
		return
	}
	if changed || !now.Before(l.next) {
		l.next = now.Add(plainEvery)
		fmt.Fprintln(l.plain, l.view.line(now))
	}
}

// Close takes away what changes; the result follows.
func (l *Live) Close() { l.status.Clear() }

// view is what of a run is shown, as a function of what it was told and when.
type view struct {
	config  load.Config
	colours bool

	last    load.Progress
	began   time.Time // the phase
	started time.Time // the run
	out, in []float64 // a second, of the last intervals
	slow    []float64 // p99 of the last intervals
}

// remembered is how many intervals a line of bars goes back.
const remembered = 24

// take notes p, and says whether it begins a phase.
func (v *view) take(p load.Progress, now time.Time) (changed bool) {
	if v.started.IsZero() {
		v.started = now.Add(-p.Interval.At)
	}
	if changed = p.Phase != v.last.Phase; changed {
		v.began = now
		if v.last.Phase == load.Connecting && v.config.Verb != load.Conn {
			v.out = nil // connects until now, messages from now on
		}
	}
	i := p.Interval
	if fresh := i.At != v.last.Interval.At; fresh {
		out := i.Sent
		if v.config.Verb == load.Conn || p.Phase == load.Connecting {
			out = i.Connects
		}
		v.out = remember(v.out, perSecond(out, i.Length))
		v.in = remember(v.in, perSecond(i.Received, i.Length))
		v.slow = remember(v.slow, float64(i.Latency.P99))
	}
	v.last = p
	v.last.Failures = append([]load.Failure(nil), p.Failures...)
	return changed
}

func remember(values []float64, v float64) []float64 {
	if len(values) == remembered {
		values = values[1:]
	}
	return append(values, v)
}

// fraction is how far the phase is, 0 to 1; false if it has no end of its own.
func (v *view) fraction() (float64, bool) {
	if v.last.Goal <= 0 {
		return 0, false
	}
	return min(1, max(0, float64(v.last.Done)/float64(v.last.Goal))), true
}

// left is how long the run still takes: the phase by its speed so far, and those
// that follow by what was asked for. False: who knows.
func (v *view) left(now time.Time) (time.Duration, bool) {
	f, ok := v.fraction()
	timed := (v.last.Phase == load.Warmup || v.last.Phase == load.Measure) && v.config.Limit == 0
	var rest time.Duration
	switch {
	case !ok:
		return 0, false
	case timed:
		rest = time.Duration(v.last.Goal - v.last.Done)
	case f < 0.01:
		return 0, false
	default:
		rest = time.Duration(float64(now.Sub(v.began)) * (1 - f) / f)
	}
	switch v.last.Phase {
	case load.Connecting, load.Pinging, load.Queueing:
		rest += v.config.Warmup + v.config.Duration
	case load.Warmup:
		rest += v.config.Duration
	}
	return max(0, rest), true
}

func (v *view) paint(s terminal.Style, text string) string {
	if !v.colours {
		return text
	}
	return s.Text(text)
}

// lines are what a terminal of that width shows.
func (v *view) lines(width int, now time.Time) []string {
	p := v.last
	lines := []string{v.head(width, now)}
	row := func(name, text string, bars []float64) {
		line := fmt.Sprintf("%-9s %s", name, text)
		if room := width - len([]rune(line)) - 2; len(bars) > 1 && room >= 8 {
			line += "  " + v.paint(terminal.Cyan, sparkline(bars, min(room, remembered)))
		}
		lines = append(lines, line)
	}
	c := p.Connections
	clients := fmt.Sprintf("%11s of %s connected", figure.Count(p.Interval.Connected), figure.Count(c.Wanted))
	if c.Held > 0 {
		clients += fmt.Sprintf(", %s answered a PINGREQ", figure.Count(c.Held))
	}
	i := p.Interval
	if p.Phase == load.Connecting || v.config.Verb == load.Conn {
		row("clients", clients, nil)
		row("connects", fmt.Sprintf("%11s/s", figure.Rate(perSecond(i.Connects, i.Length))), v.out)
	} else {
		row("clients", clients, nil)
		if p.Total.Sent > 0 || v.config.Publishers > 0 {
			row("out", fmt.Sprintf("%11s/s  %15s sent", figure.Rate(perSecond(i.Sent, i.Length)), figure.Count(p.Total.Sent)), v.out)
		}
		if p.Total.Received > 0 || v.config.Subscribers > 0 {
			row("in", fmt.Sprintf("%11s/s  %15s received", figure.Rate(perSecond(i.Received, i.Length)), figure.Count(p.Total.Received)), v.in)
		}
	}
	if i.Latency.Count > 0 {
		row("latency", fmt.Sprintf("p50 %s  p99 %s  most %s", figure.Duration(i.Latency.P50), figure.Duration(i.Latency.P99),
			figure.Duration(i.Latency.Max)), v.slow)
	}
	if p.Total.Received > 0 {
		way := ""
		if p.Check.Complete {
			way = fmt.Sprintf("%11s under way, ", figure.Count(p.Check.Lost))
		}
		row("checks", way+v.count(p.Check.Duplicates, "twice")+", "+v.count(p.Check.Reordered, "out of order"), nil)
	}
	lines = append(lines, v.trouble()...)
	return lines
}

// count is so many of what should not be.
func (v *view) count(n uint64, what string) string {
	text := figure.Count(n) + " " + what
	if n > 0 {
		return v.paint(terminal.Red, text)
	}
	return text
}

// head is the phase, a bar and the time.
func (v *view) head(width int, now time.Time) string {
	times := figure.Clock(now.Sub(v.started))
	if left, ok := v.left(now); ok {
		times += ", " + figure.Clock(left) + " left"
	} else if v.last.Phase == load.Measure {
		times += ", ctrl-C ends it"
	}
	f, ok := v.fraction()
	if !ok {
		return fmt.Sprintf("%-9s %s", v.paint(terminal.Bold, string(v.last.Phase)), times)
	}
	room := min(40, width-10-8-len(times)-2)
	text := v.paint(terminal.Bold, fmt.Sprintf("%-9s", v.last.Phase)) + " "
	if room >= 8 {
		full := int(f * float64(room))
		text += v.paint(terminal.Green, strings.Repeat("█", full)) + v.paint(terminal.Faint, strings.Repeat("░", room-full)) + " "
	}
	return text + fmt.Sprintf("%6s  %s", figure.Percent(f), times)
}

// trouble is what went wrong so far, the three most frequent kinds of it.
func (v *view) trouble() []string {
	p := v.last
	if p.Total.Errors == 0 && p.Connections.Lost == 0 && len(p.Failures) == 0 {
		return []string{fmt.Sprintf("%-9s no errors", "trouble")}
	}
	lines := []string{fmt.Sprintf("%-9s %s", "trouble", v.paint(terminal.Red,
		fmt.Sprintf("%s errors, %s connections lost", figure.Count(p.Total.Errors), figure.Count(p.Connections.Lost))))}
	for i, f := range p.Failures {
		if i == 3 {
			break
		}
		lines = append(lines, fmt.Sprintf("          %s times %s: %s", figure.Count(f.Count), printable(f.What), printable(f.Why)))
	}
	return lines
}

// line is all of it in one line that stays.
func (v *view) line(now time.Time) string {
	p := v.last
	i := p.Interval
	parts := []string{fmt.Sprintf("%s %s", figure.Clock(now.Sub(v.started)), p.Phase)}
	if f, ok := v.fraction(); ok {
		parts[0] += " " + figure.Percent(f)
	}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	add("%s of %s connected", figure.Count(i.Connected), figure.Count(p.Connections.Wanted))
	if p.Phase == load.Connecting {
		add("%s/s", figure.Rate(perSecond(i.Connects, i.Length)))
	} else if p.Total.Sent+p.Total.Received > 0 {
		add("out %s/s", figure.Rate(perSecond(i.Sent, i.Length)))
		add("in %s/s", figure.Rate(perSecond(i.Received, i.Length)))
	}
	if i.Latency.Count > 0 {
		add("p50 %s", figure.Duration(i.Latency.P50))
		add("p99 %s", figure.Duration(i.Latency.P99))
	}
	if n := p.Check.Duplicates + p.Check.Reordered; n > 0 {
		add("%s twice or out of order", figure.Count(n))
	}
	if p.Total.Errors > 0 || p.Connections.Lost > 0 {
		add("%s errors", figure.Count(p.Total.Errors))
		add("%s connections lost", figure.Count(p.Connections.Lost))
	}
	if left, ok := v.left(now); ok {
		add("%s left", figure.Clock(left))
	}
	return strings.Join(parts, ", ")
}

// sparkline is the last values as bars between nothing and the highest of them.
func sparkline(values []float64, width int) string {
	values = values[max(0, len(values)-width):]
	var most float64
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range values {
		step := 0
		if most > 0 {
			step = int(v / most * 7.999)
		}
		b.WriteRune('▁' + rune(step))
	}
	return b.String()
}
