package report

import (
	"fmt"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
)

// comparison is a figure of several runs, beside the first.
type comparison struct {
	Name  string
	Cells []cell
}

type cell struct{ Value, Change, Class string }

// better says which way a figure should go.
type better int

const (
	lower  better = -1
	higher better = 1
	none   better = 0
)

// compare puts the figures of runs side by side. A change below a twentieth is not
// coloured: two runs of the same thing differ by as much.
func compare(runs []run) (rows []comparison) {
	row := func(name string, b better, text func(float64) string, of func(*Document) (float64, bool)) {
		c := comparison{Name: name}
		first, any := 0.0, false
		for i, r := range runs {
			v, ok := of(r.Document)
			if !ok {
				c.Cells = append(c.Cells, cell{Value: "-"})
				continue
			}
			any = true
			one := cell{Value: text(v)}
			if i == 0 {
				first = v
			} else if first > 0 && b != none {
				change := v/first - 1
				if one.Value != c.Cells[0].Value {
					one.Change = fmt.Sprintf("%+.1f %%", change*100)
				}
				switch {
				case change*float64(b) > 0.05:
					one.Class = "good"
				case change*float64(b) < -0.05:
					one.Class = "bad"
				}
			} else if b == lower && first == 0 && v > 0 {
				one.Class = "bad"
			}
			c.Cells = append(c.Cells, one)
		}
		if any {
			rows = append(rows, c)
		}
	}
	count := func(v float64) string { return figure.Count(int64(v)) }
	rate := func(v float64) string { return figure.Rate(v) + " /s" }
	bytes := func(v float64) string { return figure.Bytes(int64(v)) }
	row("connections held", higher, count, func(d *Document) (float64, bool) { return float64(d.Connections.Held), d.Connections.Held > 0 })
	row("connects a second", higher, rate, func(d *Document) (float64, bool) {
		return perSecond(uint64(d.Connections.Connected), d.Connections.Elapsed), d.Connections.Elapsed > 0
	})
	row("messages sent", higher, rate, func(d *Document) (float64, bool) {
		return perSecond(d.Messages.Sent, d.Measured), d.Messages.Sent > 0
	})
	row("messages received", higher, rate, func(d *Document) (float64, bool) {
		return perSecond(d.Messages.Received, d.Measured), d.Messages.Received > 0
	})
	row("rounds", higher, rate, func(d *Document) (float64, bool) { return perSecond(d.Rounds, d.Measured), d.Rounds > 0 })
	seen := make(map[string]bool)
	for _, r := range runs {
		for _, l := range distributions(r.Latency) {
			if seen[l.Name] {
				continue
			}
			seen[l.Name] = true
			for _, q := range []struct {
				name  string
				share float64
				b     better // the most of few samples is chance
			}{{"median", 0.5, lower}, {"p99", 0.99, lower}, {"most", 1, none}} {
				row(l.Name+", "+q.name, q.b, nanoseconds, func(d *Document) (float64, bool) {
					for _, own := range distributions(d.Latency) {
						if own.Name == l.Name {
							return float64(own.Quantile(q.share)), true
						}
					}
					return 0, false
				})
			}
		}
	}
	row("lost", lower, count, func(d *Document) (float64, bool) { return float64(d.Check.Lost), d.Check.Complete })
	row("came twice", lower, count, func(d *Document) (float64, bool) { return float64(d.Check.Duplicates), d.Check.Complete })
	row("out of order", lower, count, func(d *Document) (float64, bool) { return float64(d.Check.Reordered), d.Check.Complete })
	row("errors", lower, count, func(d *Document) (float64, bool) { return float64(d.Total.Errors), true })
	row("brokers' processor time for each", lower, nanoseconds, func(d *Document) (float64, bool) {
		n, _ := d.operations()
		return float64(together(d.Brokers).CPU) / float64(max(n, 1)), n > 0 && len(d.Brokers) > 0
	})
	row("brokers' memory", lower, bytes, func(d *Document) (float64, bool) { return float64(together(d.Brokers).Memory), len(d.Brokers) > 0 })
	row("brokers' memory for each connection", lower, bytes, func(d *Document) (float64, bool) {
		return float64(d.perConnection()), d.perConnection() > 0
	})
	row("load tester's processor time", none, nanoseconds, func(d *Document) (float64, bool) {
		return float64(together(d.Load).CPU), len(d.Load) > 0
	})
	row("measured", none, func(v float64) string { return figure.Duration(time.Duration(v)) }, func(d *Document) (float64, bool) {
		return float64(d.Measured), d.Measured > 0
	})
	return rows
}
