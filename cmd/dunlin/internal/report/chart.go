package report

import (
	"fmt"
	"math"
	"strings"
)

// chart is one plot, in the units of what it shows. Its drawing is made of it for the
// template, and nothing is computed there.
type chart struct {
	Title string
	Note  string // what to see in it
	Y     string // name of the vertical axis
	X     string
	x, y  scale
	// named is how a position on the horizontal axis is called where it is pointed at.
	named  func(x float64) string
	valued func(y float64) string
	xs     []float64 // at which all series have a value or NaN
	series []series
	bars   bool // of the first series, between neighbouring xs
	joined bool // lines go on where they have no value
	bands  []band
}

// series is a line of a chart.
type series struct {
	name string
	ys   []float64
	area bool // is filled down to nothing
}

// band is a stretch of the horizontal axis with a name.
type band struct {
	name     string
	from, to float64
}

// The drawing's measures, in units of its view box.
const (
	chartWidth, chartHeight                  = 640, 280
	plotLeft, plotRight, plotTop, plotBottom = 66, 618, 36, 242
	fewestPixels                             = 46 // that a band needs to be named
)

// drawing is what the template draws.
type drawing struct {
	Title, Note, X, Y string
	Width, Height     int
	Left, Right       int
	Top, Bottom       int
	XTicks, YTicks    []drawnTick
	Bands             []drawnBand
	Lines             []drawnLine
	Bars              []drawnBar
	Hover             hover
}

type drawnTick struct {
	At   string
	Text string
	End  bool // its text would leave the drawing if it were centred
}

type drawnBand struct {
	X, Width, Middle string
	Name             string
	Shaded           bool
}

type drawnLine struct {
	Class, Name string
	Path        string
	Area        string
	X, Y        string // of a line that is a single point
}

type drawnBar struct{ X, Y, Width, Height, Title string }

// hover is what a script tells of the place that is pointed at.
type hover struct {
	X     []float64   `json:"x"`
	Names []string    `json:"names"`
	Lines []hoverLine `json:"lines"`
}

type hoverLine struct {
	Name string   `json:"name"`
	Text []string `json:"text"`
}

// What the template places around the plot.
func (d drawing) PlotHeight() int { return d.Bottom - d.Top }
func (d drawing) LabelX() int     { return d.Left - 8 }
func (d drawing) TickEnd() int    { return d.Bottom + 4 }
func (d drawing) LabelY() int     { return d.Bottom + 17 }
func (d drawing) NameY() int      { return d.Bottom + 34 }
func (d drawing) PhaseY() int     { return d.Top - 5 }

func px(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

func (c *chart) left(x float64) float64 { return plotLeft + (plotRight-plotLeft)*c.x.place(x) }
func (c *chart) top(y float64) float64 {
	return plotBottom - (plotBottom-plotTop)*min(1, max(0, c.y.place(y)))
}

// draw computes the drawing.
func (c *chart) draw() drawing {
	d := drawing{
		Title: c.Title, Note: c.Note, X: c.X, Y: c.Y, Width: chartWidth, Height: chartHeight,
		Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom,
	}
	for _, t := range c.x.ticks {
		d.XTicks = append(d.XTicks, drawnTick{px(plotLeft + (plotRight-plotLeft)*t.at), t.text, t.at > 0.99 && len(t.text) > 6})
	}
	for _, t := range c.y.ticks {
		d.YTicks = append(d.YTicks, drawnTick{At: px(plotBottom - (plotBottom-plotTop)*t.at), Text: t.text})
	}
	for i, b := range c.bands {
		from, to := c.left(b.from), c.left(b.to)
		drawn := drawnBand{X: px(from), Width: px(to - from), Middle: px((from + to) / 2), Shaded: i%2 == 0}
		if to-from >= fewestPixels {
			drawn.Name = b.name
		}
		d.Bands = append(d.Bands, drawn)
	}
	for _, x := range c.xs {
		d.Hover.X = append(d.Hover.X, math.Round(c.left(x)*10)/10)
		d.Hover.Names = append(d.Hover.Names, c.named(x))
	}
	for i, s := range c.series {
		if c.bars {
			d.Bars = append(d.Bars, c.drawBars(s)...)
		} else {
			d.Lines = append(d.Lines, c.drawLine(i, s))
		}
		line := hoverLine{Name: s.name}
		for _, y := range s.ys {
			text := "-"
			if !math.IsNaN(y) {
				text = c.valued(y)
			}
			line.Text = append(line.Text, text)
		}
		d.Hover.Lines = append(d.Hover.Lines, line)
	}
	return d
}

// drawLine draws a series, which has a gap where it has no value.
func (c *chart) drawLine(i int, s series) drawnLine {
	line := drawnLine{Class: fmt.Sprintf("s%d", i%6), Name: s.name}
	var path, area strings.Builder
	first, last := -1, -1
	end := func() {
		if first >= 0 && s.area {
			fmt.Fprintf(&area, "L%s %dL%s %dZ", px(c.left(c.xs[last])), plotBottom, px(c.left(c.xs[first])), plotBottom)
		}
		if first >= 0 && first == last {
			line.X, line.Y = px(c.left(c.xs[first])), px(c.top(s.ys[first]))
		}
		first = -1
	}
	for j, y := range s.ys {
		if math.IsNaN(y) {
			if !c.joined {
				end()
			}
			continue
		}
		verb := "L"
		if first < 0 {
			first, verb = j, "M"
		}
		last = j
		point := verb + px(c.left(c.xs[j])) + " " + px(c.top(y))
		path.WriteString(point)
		if s.area {
			area.WriteString(point)
		}
	}
	end()
	line.Path, line.Area = path.String(), area.String()
	return line
}

// drawBars draws a bar from each x to the next; the last y has none.
func (c *chart) drawBars(s series) (bars []drawnBar) {
	for j := range len(c.xs) - 1 {
		from, to, top := c.left(c.xs[j]), c.left(c.xs[j+1]), c.top(s.ys[j])
		if s.ys[j] > 0 {
			top = min(top, plotBottom-1.5) // few are not none
		}
		bars = append(bars, drawnBar{
			X: px(from + 0.5), Y: px(top), Width: px(max(0.5, to-from-1)), Height: px(plotBottom - top),
			Title: c.named(c.xs[j]) + ": " + c.valued(s.ys[j]),
		})
	}
	return bars
}
