package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newCluster() *cobra.Command {
	return parent("cluster", "Look at the cluster, change it, verify it, back it up, restore it",
		newClusterStatus(), newClusterRemove(), newClusterRebalance(), newClusterTransfer(), newClusterReplicas(),
		newClusterVerify(), newClusterBackup(), newClusterRestore(), newClusterRecover())
}

// one checks a name that becomes part of a path.
func one(what, name string) error {
	if name == "" {
		return &usageError{errors.New(what + " is empty")}
	}
	return nil
}
