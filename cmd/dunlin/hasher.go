package main

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"dunlin/node/auth/password"
)

const hasherName = "hash-passwords"

// hasher is the command by which a node starts its hasher: this program, whatever has become
// of its file meanwhile.
func hasher() []string {
	if runtime.GOOS == "linux" {
		return []string{"/proc/self/exe", hasherName}
	}
	path, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{path, hasherName}
}

// newHasher makes the command that nobody types.
func newHasher() *cobra.Command {
	return &cobra.Command{
		Use:    hasherName,
		Short:  "Hash passwords for the node that has started this",
		Hidden: true,
		Args:   exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A terminal or a supervisor tells all processes of a node; this one ends
			// when the node, which may be at work for a while yet, has ended.
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			return password.Serve(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
