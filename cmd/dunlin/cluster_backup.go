package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node/admin"
	"dunlin/node/backup"
)

func newClusterBackup() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that the cluster holds into one file, while it serves",
		Long: `Write all that the cluster holds into one file, while it serves: sessions with
their subscriptions and queues, retained messages, wills, users, rules, and settings.
Any node can be asked; it fetches each shard from the shard's leader.

Whatever was acknowledged before the command began is in the file. What is
acknowledged while it runs may be or not: each shard is of one moment, and the
moments of the shards differ.

The file is for "dunlin cluster restore". It is written as FILE.partial and gets
its name when it is whole and on the disk; a file that is there is not replaced.
It holds messages of clients, and hashes of passwords: keep it as you keep those.

With - as FILE it is written to standard output, once it is whole: TMPDIR holds it
until then.`,
		Example: `  dunlin cluster backup dunlin.backup
  kubectl exec dunlin-0 -- dunlin cluster backup - > dunlin.backup
  dunlin cluster backup --http 127.0.0.1:18084 /var/backups/dunlin-$(date +%F)`,
		Args: exactly("the file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var written int64
			write := func(to *os.File) (c admin.Contents, err error) {
				if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/backup", &c); err != nil {
					return c, err
				}
				b := backingUp{node: &node, progress: terminal.NewStatus(cmd.ErrOrStderr()), contents: c}
				defer b.progress.Clear()
				if err := b.write(cmd.Context(), to); err != nil {
					return c, err
				}
				written, err = to.Seek(0, io.SeekCurrent)
				return c, err
			}
			var (
				c      admin.Contents
				err    error
				report = cmd.OutOrStdout()
				where  = args[0]
			)
			if where == stream {
				c, err = writeStream(cmd.Context(), report, write)
				report, where = cmd.ErrOrStderr(), "standard output"
			} else {
				c, err = writeFile(cmd.Context(), where, write)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(report, "backed up %d shards of cluster %s into %s, %s\n",
				c.Shards, c.Cluster, where, figure.Bytes(written))
			return err
		},
	}
	node.bind(cmd)
	return cmd
}

// writeFile has write make a file, which has its name once it is whole and on the
// disk. When ctx ends before that nothing of it is left.
func writeFile[T any](ctx context.Context, name string, write func(*os.File) (T, error)) (result T, err error) {
	if _, err := os.Lstat(name); err == nil {
		return result, fmt.Errorf("%s is there already", name)
	}
	partial := name + ".partial"
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return result, err
	}
	finish := context.AfterFunc(ctx, func() { _ = f.Close() }) // which ends what is under way
	result, err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if !finish() {
		return result, errors.Join(fmt.Errorf("interrupted: %s was not written", name), os.Remove(partial))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return result, errors.Join(err, os.Remove(partial))
	}
	return result, os.Rename(partial, name)
}

// stream is the name of what is no file: standard output, or input.
const stream = "-"

// writeStream has write make a file without a name, which goes to out once it is
// whole.
func writeStream[T any](ctx context.Context, out io.Writer, write func(*os.File) (T, error)) (result T, err error) {
	f, err := unnamed()
	if err != nil {
		return result, err
	}
	defer f.Close()
	finish := context.AfterFunc(ctx, func() { _ = f.Close() }) // which ends what is under way
	result, err = write(f)
	if !finish() {
		return result, errInterrupted
	}
	if err != nil {
		return result, err
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return result, err
	}
	_, err = io.Copy(out, f)
	return result, err
}

// unnamed makes a file that is gone when it is closed, however this process ends.
func unnamed() (*os.File, error) {
	f, err := os.CreateTemp("", "dunlin-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// backingUp is a backup that is being written.
type backingUp struct {
	node     *api
	progress *terminal.Status
	contents admin.Contents
}

func (b *backingUp) write(ctx context.Context, to *os.File) error {
	w, err := backup.NewWriter(to, backup.Head{
		Cluster: b.contents.Cluster, Shards: b.contents.Shards, Taken: time.Now().UTC(),
		Program: b.contents.Version, Settings: b.contents.Settings,
	})
	if err != nil {
		return err
	}
	if err := b.records(ctx, w); err != nil {
		return fmt.Errorf("back up users and rules: %w", err)
	}
	for sh := range b.contents.Shards {
		if err := tryAgain(ctx, func() error {
			return w.Shard(sh, func(to io.Writer) error { return b.fetch(ctx, sh, to) })
		}); err != nil {
			return fmt.Errorf("back up shard %d: %w", sh, err)
		}
	}
	return w.Close()
}

// records writes the records of access, which the node has itself.
func (b *backingUp) records(ctx context.Context, w *backup.Writer) error {
	for after := ""; ; {
		var page admin.RecordPage
		if err := b.node.do(ctx, http.MethodGet, recordsPath+"?"+url.Values{"after": {after}}.Encode(), &page); err != nil {
			return err
		}
		some := make([]backup.Record, len(page.Records))
		for i, r := range page.Records {
			some[i] = backup.Record(r)
		}
		if err := w.Records(some); err != nil {
			return err
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

const recordsPath = "/api/v1/backup/records"

// fetch writes a shard as its leader tells it.
func (b *backingUp) fetch(ctx context.Context, sh int, to io.Writer) error {
	from, err := b.node.stream(ctx, http.MethodGet, shardPath(sh), nil)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(to, &watched{from: from, seen: func(n int64) {
		b.progress.Line("shard %d of %d, %s", sh+1, b.contents.Shards, figure.Bytes(n))
	}})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &refusal{http.StatusServiceUnavailable, "the shard's leader was lost on the way"}
	}
	return err
}

func shardPath(sh int) string { return fmt.Sprintf("/api/v1/backup/shards/%d", sh) }

// tries is how often something is tried that a node cannot do just now.
const tries = 5

// tryAgain does something again while a node says that it cannot do it now.
func tryAgain(ctx context.Context, do func() error) (err error) {
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return errInterrupted
			}
		}
		var r *refusal
		if err = do(); !errors.As(err, &r) || r.code != http.StatusServiceUnavailable {
			return err
		}
	}
	return err
}

// watched tells how much has been read.
type watched struct {
	from io.Reader
	n    int64
	seen func(n int64)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.from.Read(b)
	w.n += int64(n)
	w.seen(w.n)
	return n, err
}
