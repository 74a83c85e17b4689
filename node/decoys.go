package node

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"dunlin/raftstore/meta"
)

// decoys have the secret from which it follows what a client is told that would prove to
// know the password of somebody who is no user (package scram): were it to change, a name
// that is told the same before and after would be a user's (case 44).
//
// So it is a record of the cluster, which the first node makes that finds none, and nobody
// replaces: all nodes have the same, after restarts and with other keys of gossip too. It
// goes with the users into a backup, and comes back with them.
type decoys struct {
	stored secretRecords // nil: there is no cluster yet
	log    *slog.Logger
}

// secretRecords are control.Records.
type secretRecords interface {
	All() *meta.Records
	Replace(ctx context.Context, name, value string, was uint64) (revision uint64, err error)
}

const (
	decoySecret = "decoys" // the record's name
	makePause   = time.Second
)

// secret is "" as long as this node knows none. It may be called from any goroutine, and does
// not block.
func (d *decoys) secret() string {
	if d.stored == nil {
		return ""
	}
	r, _ := d.stored.All().Find(decoySecret)
	return r.Value
}

// look makes the secret now, if there is none and the cluster answers.
func (d *decoys) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	d.make(ctx)
}

// make makes the secret if there is none, and tries that until it is there or ctx ends.
func (d *decoys) make(ctx context.Context) {
	for d.stored != nil && d.secret() == "" {
		_, err := d.stored.Replace(ctx, decoySecret, rand.Text(), 0)
		if err == nil {
			return
		}
		if ctx.Err() == nil && !errors.Is(err, meta.ErrChanged) { // another node's, which comes to be known here
			d.log.Warn("no client can prove yet that it knows its password: the cluster does not take a secret", "error", err)
		}
		select {
		case <-time.After(makePause):
		case <-ctx.Done():
			return
		}
	}
}
