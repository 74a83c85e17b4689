package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/preflight"
	"dunlin/cmd/dunlin/internal/report"
	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node"
)

// benchOutput is the flags of what a load test shows: before, while it runs and
// after.
type benchOutput struct {
	form  format
	page  string
	quiet bool
	dry   bool
}

func (o *benchOutput) bind(f *pflag.FlagSet) {
	o.form = "table"
	f.VarP(&o.form, "output", "o", "how to print the result: table, json or yaml")
	f.StringVar(&o.page, "report", "", "write an HTML page with plots to this `file`")
	f.BoolVar(&o.quiet, "quiet", false, "show no progress and no warnings")
	f.BoolVar(&o.dry, "dry-run", false, "check the limits of this machine, and do nothing else")
}

// preflight compares the limits of this machine with what c asks for, and warns of
// those that are not enough.
func (o *benchOutput) preflight(cmd *cobra.Command, c load.Config) []preflight.Finding {
	facts := preflight.Read(c.PIDs...)
	found := preflight.Check(facts, benchPlan(facts, c))
	if o.dry {
		writeFindings(cmd.OutOrStdout(), found)
	} else if !o.quiet {
		var short []preflight.Finding
		for _, f := range found {
			if f.Verdict == preflight.Short || f.Verdict == preflight.Tight {
				short = append(short, f)
			}
		}
		writeFindings(cmd.ErrOrStderr(), short)
	}
	return found
}

func writeFindings(w io.Writer, found []preflight.Finding) {
	for _, f := range found {
		word := fmt.Sprintf("%-7s", f.Verdict)
		if terminal.Colours(w) {
			word = map[preflight.Verdict]terminal.Style{
				preflight.Enough: terminal.Green, preflight.Tight: terminal.Yellow, preflight.Short: terminal.Red,
			}[f.Verdict].Text(word)
		}
		fmt.Fprintf(w, "%s %s\n", word, f)
		for _, change := range f.Change {
			fmt.Fprintf(w, "        change: %s\n", change)
		}
	}
}

// ownBytes is the memory of a process of the load for each of its connections.
const ownBytes = 500

// benchPlan is what c asks of this machine.
func benchPlan(facts preflight.Facts, c load.Config) preflight.Plan {
	p := preflight.Plan{
		Connections: c.Publishers + c.Subscribers, Processes: max(1, c.Processes), Targets: len(c.Brokers), AtOnce: c.Pending, Own: ownBytes,
		Local: true,
	}
	if l, err := c.Layout(int(min(facts.OpenHard, 1<<30))); err == nil {
		p.Processes, p.Files, p.PerSource = l.Processes, l.Files, l.PerSource
	}
	for _, b := range append(c.Brokers[:len(c.Brokers):len(c.Brokers)], c.PublishTo...) {
		p.Local = p.Local && isHere(b)
	}
	// A message is under way for some milliseconds, or for as long as a stall takes.
	switch p.Busy = p.Connections; {
	case c.Verb == load.Conn && c.Each == 0:
		p.Busy = min(p.Busy, c.Pending)
	case c.Verb == load.Conn:
		p.Busy /= c.Each
	case c.Rate > 0 && c.Verb != load.FanOut:
		p.Busy = min(p.Busy, int(c.Rate))
	}
	return p
}

// isHere says whether addr, host:port, is on this machine.
func isHere(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost"
	}
	own, _ := net.InterfaceAddrs()
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == ip.Unmap() {
			return true
		}
	}
	return ip.IsLoopback()
}

// observer shows the run while it goes on; end takes that away.
func (o *benchOutput) observer(cmd *cobra.Command, c load.Config) (observe load.Observer, end func()) {
	if o.quiet {
		return nil, func() {}
	}
	l := report.NewLive(cmd.ErrOrStderr(), c)
	return l.Observe, l.Close
}

// show prints what came of the run. The error is that it failed.
func (o *benchOutput) show(cmd *cobra.Command, r *load.Result, limits []preflight.Finding) error {
	command := report.Command(append([]string{"dunlin"}, os.Args[1:]...), "-P", "--password")
	d := report.New(*r, node.Version(), command, report.ThisMachine(), limits)
	out := cmd.OutOrStdout()
	var err error
	if o.form == "table" {
		err = d.WriteTable(out, terminal.Colours(out))
	} else {
		err = o.form.print(out, d, nil)
	}
	if err == nil && o.page != "" {
		err = writePage(out, o.page, report.Named{Document: d})
	}
	if err == nil && !d.Passed {
		err = errors.New("the load test failed: " + strings.Join(d.Broken, "; "))
	}
	return err
}
