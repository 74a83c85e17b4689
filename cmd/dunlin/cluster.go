package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func newCluster() *cobra.Command {
	c := parent("cluster", "Look at the cluster, change it, verify it, back it up, restore it",
		newClusterStatus(), newClusterRemove(), newClusterDrain(), newClusterUndrain(), newClusterRebalance(), newClusterTransfer(), newClusterReplicas(),
		newClusterVerify(), newClusterBackup(), newClusterRestore(), newClusterRecover())
	// The first Ctrl-C has a command leave nothing half done, a second one ends it.
	c.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		cmd.SetContext(ctx)
	}
	return c
}

// one checks a name that becomes part of a path.
func one(what, name string) error {
	if name == "" {
		return &usageError{errors.New(what + " is empty")}
	}
	return nil
}
