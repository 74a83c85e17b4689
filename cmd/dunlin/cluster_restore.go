package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node/admin"
	"dunlin/node/backup"
)

func newClusterRestore() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Give a new, empty cluster what a backup holds",
		Long: `Give a new cluster what "dunlin cluster backup" or "dunlin cluster recover" wrote.

The cluster has to be empty, and to have as many shards as the one that the file
is of: form it with --shards of the same number (the number of nodes may differ).
Keep clients away until the command is done, for instance by listening on a
loopback address: a single session or retained message that is there already has
the command refused.

Every session comes back as if its node had died when the backup was taken:
without a connection, its will due. Clients find their sessions present when they
connect again; they may hear once more what they had acknowledged after the
backup (QoS 1 and 2), and do not hear what was published after it.

The file is verified before anything is changed. If the command fails half-way,
some shards hold something: form another empty cluster and begin anew.

With - as FILE it is read from standard input; TMPDIR holds it meanwhile.`,
		Example: `  dunlin serve --shards 16 --data-dir /var/lib/dunlin-new    a new cluster
  dunlin cluster restore --data-dir /var/lib/dunlin-new dunlin.backup
  kubectl exec -i dunlin-0 -- dunlin cluster restore - < dunlin.backup`,
		Args: exactly("the file of a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := openBackup(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer file.Close()
			b, err := backup.Open(file)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			r := restoring{node: &node, progress: terminal.NewStatus(cmd.ErrOrStderr()), file: b}
			err = r.run(cmd.Context())
			r.progress.Clear()
			if err != nil {
				return err
			}
			what := "backup"
			if len(b.Recovered) > 0 {
				what = "recovery"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored %d of %d shards from the %s of cluster %s of %s\n",
				len(b.Held()), b.Shards, what, b.Cluster, b.Taken.Format(time.RFC3339))
			return err
		},
	}
	node.bind(cmd)
	return cmd
}

// openBackup opens the file of a backup, or what of it comes from in.
func openBackup(name string, in io.Reader) (*os.File, error) {
	if name != stream {
		return os.Open(name)
	}
	f, err := unnamed()
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, in)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// restoring is a backup on its way into a cluster.
type restoring struct {
	node     *api
	progress *terminal.Status
	file     *backup.File
}

func (r *restoring) run(ctx context.Context) error {
	var c admin.Contents
	if err := r.node.do(ctx, http.MethodGet, "/api/v1/backup", &c); err != nil {
		return err
	}
	switch {
	case c.Shards != r.file.Shards:
		return fmt.Errorf("the backup is of %d shards and this cluster has %d: form a new one with --shards %d",
			r.file.Shards, c.Shards, r.file.Shards)
	case len(c.Used) > 0:
		return fmt.Errorf("the cluster is not empty (shards %s hold something): a backup is restored into a new one only",
			strings.Trim(fmt.Sprint(c.Used), "[]"))
	}
	for name, value := range r.file.Settings {
		if err := r.set(ctx, name, value); err != nil {
			return fmt.Errorf("restore setting %q: %w", name, err)
		}
	}
	if err := r.records(ctx); err != nil {
		return fmt.Errorf("restore users and rules: %w", err)
	}
	for _, sh := range r.file.Held() {
		if err := tryAgain(ctx, func() error { return r.give(ctx, sh) }); err != nil {
			return fmt.Errorf("restore shard %d: %w; begin anew with an empty cluster", sh, err)
		}
	}
	for _, sh := range r.file.Held() {
		if err := tryAgain(ctx, func() error { return r.send(ctx, http.MethodPost, shardPath(sh)+"/begin", nil) }); err != nil {
			return fmt.Errorf("begin shard %d: %w; begin anew with an empty cluster", sh, err)
		}
	}
	return nil
}

func (r *restoring) set(ctx context.Context, name, value string) error {
	body, err := json.Marshal(admin.Settings{Settings: map[string]string{name: value}})
	if err != nil {
		return err
	}
	return r.send(ctx, http.MethodPut, "/api/v1/backup/settings", bytes.NewReader(body))
}

// recordsAtATime is how many records are put by one request, each of which is a commit; and
// recordBytes about how large they are together, at most.
const (
	recordsAtATime = 500
	recordBytes    = 1 << 20
)

func (r *restoring) records(ctx context.Context) error {
	var page admin.RecordPage
	size := 0
	put := func(done int) error {
		r.progress.Line("users and rules, %d of %d", done, len(r.file.Records))
		body, err := json.Marshal(page)
		if err != nil {
			return err
		}
		page.Records, size = page.Records[:0], 0
		return tryAgain(ctx, func() error { return r.send(ctx, http.MethodPut, recordsPath, bytes.NewReader(body)) })
	}
	for i, x := range r.file.Records {
		page.Records = append(page.Records, admin.Record(x))
		if size += len(x.Name) + len(x.Value); len(page.Records) == recordsAtATime || size >= recordBytes || i == len(r.file.Records)-1 {
			if err := put(i + 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// give brings a shard to its leader.
func (r *restoring) give(ctx context.Context, sh int) error {
	return r.send(ctx, http.MethodPut, shardPath(sh), &watched{from: r.file.Shard(sh), seen: func(n int64) {
		r.progress.Line("shard %d of %d, %s", sh+1, r.file.Shards, figure.Bytes(n))
	}})
}

func (r *restoring) send(ctx context.Context, method, path string, body io.Reader) error {
	answer, err := r.node.stream(ctx, method, path, body)
	if err != nil {
		return err
	}
	return answer.Close()
}
