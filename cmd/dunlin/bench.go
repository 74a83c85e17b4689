package main

import "github.com/spf13/cobra"

func newBench() *cobra.Command {
	return parent("bench", "Load-test a broker", newBenchReport())
}
