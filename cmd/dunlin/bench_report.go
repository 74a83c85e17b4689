package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/report"
	"dunlin/cmd/dunlin/internal/terminal"
)

func newBenchReport() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "report RESULT.json...",
		Short: "Show results again, or side by side",
		Long: `Show the results of earlier load tests, which --output json has written: as tables, or as one HTML page that
needs no other file. A page of several compares them with the first.`,
		Example: `  dunlin bench report before.json
  dunlin bench report before.json after.json -o compare.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return wrongUsage("dunlin bench report: want a result that --output json has written")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			docs := make([]report.Named, len(args))
			for i, path := range args {
				d, err := readResult(path)
				if err != nil {
					return err
				}
				docs[i] = report.Named{Name: filepath.Base(path), Document: d}
			}
			if to != "" {
				return writePage(cmd.OutOrStdout(), to, docs...)
			}
			out := cmd.OutOrStdout()
			for i, d := range docs {
				if len(docs) > 1 {
					fmt.Fprintf(out, "%s:\n", args[i])
				}
				if err := d.WriteTable(out, terminal.Colours(out)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&to, "out", "o", "", "write an HTML page to this `file`; -: to the standard output")
	return cmd
}

func readResult(path string) (*report.Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := report.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// writePage writes the page of results to a file, or to out if its name is "-".
func writePage(out io.Writer, path string, docs ...report.Named) error {
	if path == "-" {
		return report.WriteHTML(out, docs...)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := report.WriteHTML(f, docs...); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
