package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/preflight"
	"dunlin/cmd/dunlin/internal/terminal"
)

// WriteTable writes the document for a person at a terminal, with colours if they
// are wanted.
func (d *Document) WriteTable(w io.Writer, colours bool) error {
	t := &tableWriter{colours: colours}
	t.head(d)
	t.connections(d)
	t.messages(d)
	t.latencies(d)
	t.checks(d)
	t.processes(d)
	t.failures(d)
	t.limits(d.Limits)
	_, err := io.WriteString(w, t.b.String())
	return err
}

// tableWriter gathers the table's sections.
type tableWriter struct {
	b       strings.Builder
	colours bool
}

func (t *tableWriter) say(format string, args ...any) { fmt.Fprintf(&t.b, format+"\n", args...) }

func (t *tableWriter) paint(s terminal.Style, text string) string {
	if !t.colours {
		return text
	}
	return s.Text(text)
}

func (t *tableWriter) head(d *Document) {
	word, colour := "PASSED", terminal.Green
	if !d.Passed {
		word, colour = "FAILED", terminal.Red
	}
	t.say("%s  %s", t.paint(colour, word), strings.Join(append([]string{"dunlin bench " + string(d.Config.Verb)}, setup(d.Config)...), ", "))
	for _, reason := range d.Broken {
		t.say("        %s", t.paint(terminal.Red, reason))
	}
	t.say("")
}

func (t *tableWriter) connections(d *Document) {
	c := d.Connections
	if c.Wanted == 0 {
		return
	}
	line := fmt.Sprintf("%s of %s connected", figure.Count(c.Connected), figure.Count(c.Wanted))
	if c.Elapsed > 0 {
		line += fmt.Sprintf(" in %s, %s a second", figure.Duration(c.Elapsed), figure.Rate(perSecond(uint64(c.Connected), c.Elapsed)))
	}
	t.say("Connections  %s", line)
	if c.Held > 0 || c.Unanswered > 0 {
		line = fmt.Sprintf("%s held: each answered a PINGREQ after the last was connected", figure.Count(c.Held))
		if c.Unanswered > 0 {
			line += fmt.Sprintf("; %s did not", figure.Count(c.Unanswered))
		}
		t.say("             %s", line)
	}
	if c.Lost > 0 {
		t.say("             %s", t.paint(terminal.Red, figure.Count(c.Lost)+" lost"))
	}
	if m := d.perConnection(); m > 0 {
		t.say("             %s of the brokers' memory for each, all that they have included", figure.Bytes(m))
	}
	t.say("Time         %s measured of %s; it ended because %s", figure.Duration(d.Measured), figure.Duration(d.Elapsed), ending(d.End))
	t.say("")
}

func (t *tableWriter) messages(d *Document) {
	g := grid{{"Messages", "measured", "a second", "payload a second", "in all"}}
	row := func(name string, n, all, bytes uint64) {
		if all == 0 {
			return
		}
		volume := ""
		if bytes > 0 {
			volume = figure.Bytes(int64(perSecond(bytes, d.Measured))) + "/s"
		}
		g = append(g, []string{name, figure.Count(n), figure.Rate(perSecond(n, d.Measured)), volume, figure.Count(all)})
	}
	m, all := d.Messages, d.Total
	row("sent", m.Sent, all.Sent, m.SentBytes)
	row("acknowledged", m.Acked, all.Acked, 0)
	row("received", m.Received, all.Received, m.RecvBytes)
	row("rounds", d.Rounds, d.Rounds, 0)
	t.grid(g)
}

func (t *tableWriter) latencies(d *Document) {
	g := grid{{"Latency", "samples", "p50", "p90", "p99", "p99.9", "most"}}
	for _, l := range distributions(d.Latency) {
		row := []string{l.Name, figure.Count(l.Count())}
		for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
			row = append(row, figure.Duration(l.Quantile(q)))
		}
		g = append(g, row)
	}
	t.grid(g)
}

func (t *tableWriter) checks(d *Document) {
	if d.Total.Sent == 0 && d.Total.Received == 0 {
		return
	}
	mark := func(n uint64, what string) string {
		text := figure.Count(n) + " " + what
		if n > 0 {
			return t.paint(terminal.Red, text)
		}
		return text
	}
	c := d.Check
	var parts []string
	if c.Complete {
		parts = append(parts, fmt.Sprintf("%s of %s deliveries came", figure.Count(c.Delivered), figure.Count(c.Expected)), mark(c.Lost, "lost"))
	}
	if d.Total.Received > 0 {
		parts = append(parts, mark(c.Duplicates, "twice"), mark(c.Reordered, "out of order"))
	}
	if d.Config.QoS > 0 && d.Total.Sent > 0 {
		parts = append(parts, mark(c.Unacked, "not acknowledged"))
	}
	if c.Foreign > 0 {
		parts = append(parts, mark(c.Foreign, "of somebody else"))
	}
	t.say("Checks       %s", strings.Join(parts, ", "))
	if !c.Complete {
		t.say("             the other side is not of this run: what was lost is not known")
	}
	t.say("")
}

func (t *tableWriter) processes(d *Document) {
	n, what := d.operations()
	g := grid{{"Processes", "PID", "CPU", "cores", "memory", "at most"}}
	if n > 0 {
		g[0] = append(g[0], "a "+what)
	}
	add := func(kind string, p load.Process) {
		row := []string{processName(kind, p), pid(p.PID), figure.Duration(p.CPU), cores(p.CPU, d.Measured),
			figure.Bytes(p.Memory), figure.Bytes(p.Peak)}
		if n > 0 {
			row = append(row, figure.Duration(p.CPU/time.Duration(n)))
		}
		g = append(g, row)
	}
	for _, p := range d.Brokers[:min(len(d.Brokers), processesShown)] {
		add("broker", p)
	}
	if len(d.Brokers) > processesShown {
		add(fmt.Sprintf("broker, all %d processes", len(d.Brokers)), together(d.Brokers))
	}
	if len(d.Load) > 0 {
		kind := "load"
		if len(d.Load) > 1 {
			kind = fmt.Sprintf("load, %d processes", len(d.Load))
		}
		add(kind, together(d.Load))
	}
	t.grid(g)
}

// processesShown is how many processes of a kind have a row of their own.
const processesShown = 8

// processName is what a row about a process is called.
func processName(kind string, p load.Process) string {
	switch {
	case p.Name != "":
		return printable(p.Name) + " (" + kind + ")"
	case p.PID != 0:
		return kind + ", which has ended"
	}
	return kind
}

// together is what several processes have used, without a name of their own if they
// are several.
func together(processes []load.Process) load.Process {
	if len(processes) == 1 {
		return processes[0]
	}
	var sum load.Process
	for _, p := range processes {
		sum.CPU += p.CPU
		sum.Memory += p.Memory
		sum.Peak += p.Peak
	}
	return sum
}

func pid(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// cores is how many processors were kept busy.
func cores(used, of time.Duration) string {
	if of <= 0 {
		return ""
	}
	return strconv.FormatFloat(float64(used)/float64(of), 'f', 2, 64)
}

// failuresShown bounds what the table shows of them; JSON and the page have all.
const failuresShown = 8

func (t *tableWriter) failures(d *Document) {
	if len(d.Failures) == 0 {
		return
	}
	t.say("Failures")
	for i, f := range d.Failures {
		if i == failuresShown {
			t.say("  and %s more kinds", figure.Count(len(d.Failures)-failuresShown))
			break
		}
		line := fmt.Sprintf("  %s times %s: %s", figure.Count(f.Count), printable(f.What), t.paint(terminal.Red, printable(f.Why)))
		if f.Example != "" {
			line += ", such as " + printable(f.Example)
		}
		t.say("%s", line)
	}
	t.say("")
}

func (t *tableWriter) limits(findings []preflight.Finding) {
	if preflight.Worst(findings) == preflight.Enough {
		return
	}
	t.say("Limits of this machine that were not enough")
	for _, f := range findings {
		if f.Verdict == preflight.Tight || f.Verdict == preflight.Short {
			t.say("  %s", f)
		}
	}
	t.say("")
}

// printable is text of others without what a terminal would act on (case 55).
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// grid is rows of cells: the first column to the left, the others to the right. The
// first row is its head.
type grid [][]string

// grid writes g, unless it has nothing but its head.
func (t *tableWriter) grid(g grid) {
	if len(g) < 2 {
		return
	}
	widths := make([]int, len(g[0]))
	for r, row := range g {
		for i, cell := range row {
			n := utf8.RuneCountInString(cell)
			if i == 0 && r > 0 {
				n += 2
			}
			widths[i] = max(widths[i], n)
		}
	}
	for r, row := range g {
		var line strings.Builder
		for i, cell := range row {
			if i == 0 && r > 0 {
				cell = "  " + cell
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if r == 0 && i > 0 {
				cell = t.paint(terminal.Faint, cell)
			}
			if i == 0 {
				line.WriteString(cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		t.say("%s", strings.TrimRight(line.String(), " "))
	}
	t.say("")
}
