//go:build !invariants

package raftstore

func (sh *shard) check() {}
