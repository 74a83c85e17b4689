package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/preflight"
)

//go:embed page/page.html page/page.css page/page.js
var files embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"count":     countOf,
	"duration":  figure.Duration,
	"printable": printable,
	"style":     func() template.CSS { return template.CSS(file("page/page.css")) },
	"script":    func() template.JS { return template.JS(file("page/page.js")) },
}).ParseFS(files, "page/page.html"))

// file is a file that is part of the program.
func file(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func countOf(n any) string {
	switch n := n.(type) {
	case int:
		return figure.Count(n)
	case uint64:
		return figure.Count(n)
	}
	return fmt.Sprint(n)
}

// Named is a document under the name that a page of several gives it.
type Named struct {
	Name string
	*Document
}

// WriteHTML writes the page of one run, or the one that compares several. The first
// is what the others are compared with.
func WriteHTML(w io.Writer, docs ...Named) error {
	if len(docs) == 0 {
		return fmt.Errorf("report: no results to show")
	}
	p := page{Title: "dunlin bench " + string(docs[0].Config.Verb)}
	var runs []run
	for _, d := range docs {
		r := run{Name: d.Name, Document: d.Document, points: points(d.Series)}
		runs = append(runs, r)
		s := newSheet(r)
		s.Index = len(p.Runs) % 6
		p.Runs = append(p.Runs, s)
	}
	if len(runs) > 1 {
		p.Title = fmt.Sprintf("dunlin bench: %d runs compared", len(runs))
		p.Comparison = compare(runs)
	}
	for _, c := range charts(runs) {
		p.Charts = append(p.Charts, c.draw())
	}
	return pageTemplate.Execute(w, p)
}

// page is what the template shows.
type page struct {
	Title      string
	Runs       []sheet
	Charts     []drawing
	Comparison []comparison // of several runs
}

// sheet is a run's part of the page.
type sheet struct {
	run
	Index     int
	Verdict   string
	Setup     []string
	Ended     string
	CommandLn string
	When      string
	Cards     []card
	Messages  []messageRow
	Latencies []latencyRow
	Processes []processRow
	Settings  []pair
	Machine   []pair
	Points    []pointRow
}

// card is a figure with its unit, and what it is of. Class is bad where it tells of
// something wrong.
type card struct{ Title, Figure, Unit, Text, Class string }

type messageRow struct{ Name, Measured, Rate, Volume, All string }

type latencyRow struct {
	Name, Means string
	Count       string
	Values      []string
}

type processRow struct{ Name, PID, CPU, Cores, Memory, Peak, Each string }

type pair struct{ Name, Value string }

type pointRow struct {
	At, Phase                                 string
	Connected, Sent, Received, P50, P99, Most string
	Errors                                    string
}

// quantiles are the columns of the latency table.
var quantiles = []struct {
	Name  string
	share float64
}{{"p50", 0.5}, {"p75", 0.75}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"most", 1}}

// Quantiles are the names of the columns, for the template.
func (p page) Quantiles() (names []string) {
	for _, q := range quantiles {
		names = append(names, q.Name)
	}
	return names
}

func newSheet(r run) sheet {
	d := r.Document
	s := sheet{
		run: r, Verdict: d.verdict(), Setup: setup(d.Config), Ended: ending(d.End), CommandLn: shell(d.Command),
		When: d.Started.UTC().Format("2 January 2006, 15:04:05 UTC"),
	}
	s.Cards = cards(d)
	s.Messages = messageRows(d)
	for _, l := range distributions(d.Latency) {
		row := latencyRow{Name: l.Name, Means: l.Means, Count: figure.Count(l.Count())}
		for _, q := range quantiles {
			text := figure.Duration(l.Quantile(q.share))
			if q.share < 1 && float64(l.Count())*(1-q.share) < 1 {
				text = "" // fewer samples than that tell of it
			}
			row.Values = append(row.Values, text)
		}
		s.Latencies = append(s.Latencies, row)
	}
	s.Processes = processRows(d)
	s.Settings, s.Machine = settings(d), machine(d)
	for _, p := range r.points {
		row := pointRow{
			At: figure.Clock(time.Duration(p.at * float64(time.Second))), Phase: string(p.phase), Connected: figure.Count(int64(p.connected)),
			Sent: figure.Rate(p.sent), Received: figure.Rate(p.received), Errors: figure.Rate(p.errors),
		}
		if !math.IsNaN(p.p50) {
			row.P50, row.P99, row.Most = nanoseconds(p.p50), nanoseconds(p.p99), nanoseconds(p.most)
		}
		s.Points = append(s.Points, row)
	}
	return s
}

// cards are the figures that are looked at first.
func cards(d *Document) (cards []card) {
	c := d.Connections
	if c.Wanted > 0 {
		text := "connected of " + figure.Count(c.Wanted)
		n := c.Connected
		if c.Held > 0 || c.Unanswered > 0 {
			n, text = c.Held, fmt.Sprintf("held of %s: each answered a PINGREQ", figure.Count(c.Wanted))
		}
		cards = append(cards, card{"Connections", figure.Count(n), "", text, wrong(n < c.Wanted)})
	}
	m := d.Messages
	switch {
	case d.Config.Verb == load.Conn && !d.Config.Churn && c.Elapsed > 0:
		cards = append(cards, card{"Connect rate", figure.Rate(perSecond(uint64(c.Connected), c.Elapsed)), "/s", "over " + figure.Duration(c.Elapsed), ""})
	case m.Received > 0:
		cards = append(cards, card{"Throughput", figure.Rate(perSecond(m.Received, d.Measured)), "/s", "messages received; " +
			figure.Rate(perSecond(m.Sent, d.Measured)) + " /s sent", ""})
	case m.Sent > 0:
		cards = append(cards, card{"Throughput", figure.Rate(perSecond(m.Sent, d.Measured)), "/s", "messages sent", ""})
	case d.Rounds > 0:
		cards = append(cards, card{"Throughput", figure.Rate(perSecond(d.Rounds, d.Measured)), "/s", "rounds of coming and going", ""})
	}
	if all := distributions(d.Latency); len(all) > 0 {
		l := all[0]
		cards = append(cards, card{"Latency, " + l.Name, figure.Duration(l.Quantile(0.99)), "p99", fmt.Sprintf("median %s, most %s",
			figure.Duration(l.Quantile(0.5)), figure.Duration(l.Quantile(1))), ""})
	}
	if d.Check.Complete && d.Check.Expected > 0 {
		cards = append(cards, card{"Lost", figure.Count(d.Check.Lost), "", fmt.Sprintf("of %s; %s twice, %s out of order",
			figure.Count(d.Check.Expected), figure.Count(d.Check.Duplicates), figure.Count(d.Check.Reordered)),
			wrong(d.Check.Lost+d.Check.Duplicates+d.Check.Reordered > 0)})
	}
	if brokers := together(d.Brokers); len(d.Brokers) > 0 {
		if each := d.perConnection(); each > 0 {
			cards = append(cards, card{"Memory", figure.Bytes(each), "", "of the brokers' for each connection, all that they have included", ""})
		} else if n, what := d.operations(); n > 0 {
			cards = append(cards, card{"Processor time", figure.Duration(brokers.CPU / time.Duration(n)), "", fmt.Sprintf("of the brokers for each %s; %s cores busy",
				what, cores(brokers.CPU, d.Measured)), ""})
		}
	}
	return cards
}

func wrong(yes bool) string {
	if yes {
		return "bad"
	}
	return ""
}

func messageRows(d *Document) (rows []messageRow) {
	row := func(name string, n, all, bytes uint64) {
		if all == 0 {
			return
		}
		r := messageRow{name, figure.Count(n), figure.Rate(perSecond(n, d.Measured)), "", figure.Count(all)}
		if bytes > 0 {
			r.Volume = figure.Bytes(int64(perSecond(bytes, d.Measured))) + "/s"
		}
		rows = append(rows, r)
	}
	row("sent", d.Messages.Sent, d.Total.Sent, d.Messages.SentBytes)
	row("acknowledged", d.Messages.Acked, d.Total.Acked, 0)
	row("received", d.Messages.Received, d.Total.Received, d.Messages.RecvBytes)
	row("rounds", d.Rounds, d.Rounds, 0)
	return rows
}

func processRows(d *Document) (rows []processRow) {
	n, _ := d.operations()
	add := func(kind string, p load.Process) {
		r := processRow{processName(kind, p), pid(p.PID), figure.Duration(p.CPU), cores(p.CPU, d.Measured), figure.Bytes(p.Memory), figure.Bytes(p.Peak), ""}
		if n > 0 {
			r.Each = figure.Duration(p.CPU / time.Duration(n))
		}
		rows = append(rows, r)
	}
	for _, p := range d.Brokers[:min(len(d.Brokers), processesShown)] {
		add("broker", p)
	}
	if len(d.Brokers) > 1 {
		add(fmt.Sprintf("brokers, all %d", len(d.Brokers)), together(d.Brokers))
	}
	for _, p := range d.Load[:min(len(d.Load), processesShown)] {
		add("load tester", p)
	}
	if len(d.Load) > 1 {
		add(fmt.Sprintf("load tester, all %d", len(d.Load)), together(d.Load))
	}
	return rows
}

// settings are the configuration as far as it says something.
func settings(d *Document) (pairs []pair) {
	c := d.Config
	add := func(name, value string, shown bool) {
		if shown && value != "" {
			pairs = append(pairs, pair{name, value})
		}
	}
	list := func(names []string) (text string) {
		const most = 8
		for i, n := range names {
			if i == most {
				return text + fmt.Sprintf(" and %d more", len(names)-most)
			}
			if i > 0 {
				text += ", "
			}
			text += n
		}
		return text
	}
	add("brokers", list(c.Brokers), true)
	add("publishers' brokers", list(c.PublishTo), true)
	add("source addresses", list(c.Sources), true)
	add("client identifiers", c.Prefix, true)
	add("topic", c.Topic, true)
	add("filter", c.Filter, true)
	add("share group", c.Group, c.Verb == load.ShareSub)
	add("retained", "yes", c.Retain)
	add("keep-alive", figure.Duration(c.KeepAlive), c.KeepAlive > 0)
	add("sessions", map[bool]string{true: "clean", false: "kept"}[c.Clean], true)
	add("session expiry", fmt.Sprintf("%d s", c.Expiry), c.Expiry > 0)
	add("window of a publisher", figure.Count(c.Window), c.Publishers > 0)
	add("messages in a write", figure.Count(c.Batch), c.Batch > 1)
	add("connects a second", figure.Rate(c.ConnectRate), c.ConnectRate > 0)
	add("connects at once", figure.Count(c.Pending), c.Pending > 0)
	add("warm-up", figure.Duration(c.Warmup), c.Warmup > 0)
	add("duration", figure.Duration(c.Duration), c.Duration > 0)
	add("messages to send", figure.Count(c.Limit), c.Limit > 0)
	add("interval", figure.Duration(c.Interval), c.Interval > 0)
	add("patience", figure.Duration(c.Patience), c.Patience > 0)
	add("processes", fmt.Sprintf("%s, %s connections in the fullest", figure.Count(d.Layout.Processes), figure.Count(d.Layout.Connections)), d.Layout.Processes > 0)
	add("allowed", fmt.Sprintf("%d lost, %d twice, %d out of order, %d failures", c.Allow.Lost, c.Allow.Duplicates, c.Allow.Reordered, c.Allow.Failures),
		c.Allow != load.Allowance{})
	return pairs
}

func machine(d *Document) (pairs []pair) {
	e := d.Environment
	for _, p := range []struct {
		pair
		known bool
	}{
		{pair{"Dunlin", d.Dunlin}, d.Dunlin != ""}, {pair{"system", e.System}, e.System != ""}, {pair{"kernel", e.Kernel}, e.Kernel != ""},
		{pair{"processor", e.Processor}, e.Processor != ""}, {pair{"processors", figure.Count(e.Processors)}, e.Processors > 0},
		{pair{"memory", figure.Bytes(e.Memory)}, e.Memory > 0}, {pair{"Go", e.Go}, e.Go != ""},
	} {
		if p.known {
			pairs = append(pairs, p.pair)
		}
	}
	return pairs
}

// Each says whether processes are counted for each operation.
func (s sheet) Each() bool {
	n, _ := s.operations()
	return n > 0
}

// Marks are the limits, with the class of their verdict, for the template.
func (s sheet) Marks() []mark {
	var marks []mark
	for _, f := range s.Limits {
		class := map[preflight.Verdict]string{preflight.Enough: "good", preflight.Tight: "fair", preflight.Short: "bad"}[f.Verdict]
		marks = append(marks, mark{f, class})
	}
	return marks
}

type mark struct {
	preflight.Finding
	Class string
}
