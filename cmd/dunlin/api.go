package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

// api is the HTTP interface of a running node, by the flags that say where.
type api struct {
	dataDir string
	http    string
	timeout time.Duration
}

const defaultHTTP = "127.0.0.1:18083"

func (a *api) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&a.dataDir, "data-dir", "", "the node's data `directory`, whose admin.sock is used (default ./data)")
	flags.StringVar(&a.http, "http", "", "the node's http-`addr`ess, used in place of admin.sock (default "+defaultHTTP+" if there is no ./data)")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to wait")
}

// do asks and decodes the answer into v, unless v is nil.
func (a *api) do(ctx context.Context, method, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	answer, err := a.stream(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	body, err := io.ReadAll(io.LimitReader(answer, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of the node: %w", err)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read the answer of the node: %w", err)
	}
	return nil
}

// refusal is an answer of a node that is not 2xx.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// stream asks, with a body if it is not nil, and returns the answer of a node that
// did what was asked, to be read as it comes and closed.
func (a *api) stream(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	client, base, err := a.client()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		if errors.Is(err, context.Canceled) {
			return nil, errInterrupted
		}
		if a.http != "" && !unheard(ctx, err) {
			return nil, fmt.Errorf("who listens at %s does not answer in HTTP: %w; --http is for a node's http-addr, by default %s",
				a.http, err, defaultHTTP)
		}
		return nil, fmt.Errorf("ask the node at %s: %w", a.where(), err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the node: %w", err)
	}
	var f admin.Failure
	if json.Unmarshal(text, &f) != nil || f.Error == "" {
		f.Error = fmt.Sprintf("%s answers %s, and not as a Dunlin node does; http-addr is by default %s", a.where(), resp.Status, defaultHTTP)
	}
	return nil, &refusal{resp.StatusCode, f.Error}
}

// errInterrupted is how what Ctrl-C has ended ends.
var errInterrupted = errors.New("interrupted")

// unheard says that err says nothing of who listens: nobody took the connection, or
// there was no time for the answer.
func unheard(ctx context.Context, err error) bool {
	var op *net.OpError
	var wait net.Error
	return ctx.Err() != nil || errors.As(err, &op) && op.Op == "dial" || errors.As(err, &wait) && wait.Timeout()
}

// client chooses the way: --http, --data-dir, ./data if a node is there, else
// the default address.
func (a *api) client() (*http.Client, string, error) {
	if a.http != "" && a.dataDir != "" {
		return nil, "", wrongUsage("--http and --data-dir name two ways, want one")
	}
	if a.http == "" && a.dataDir == "" {
		if _, err := os.Stat(filepath.Join("data", admin.SocketName)); err == nil {
			a.dataDir = "data"
		} else {
			a.http = defaultHTTP
		}
	}
	if a.http != "" {
		base := strings.TrimSuffix(a.http, "/")
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
		return &http.Client{}, base, nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return admin.Dial(ctx, a.dataDir) }
	return &http.Client{Transport: &http.Transport{DialContext: dial}}, "http://node", nil
}

func (a *api) where() string {
	if a.http != "" {
		return a.http
	}
	return filepath.Join(a.dataDir, admin.SocketName)
}

// segment escapes a client identifier as one segment of a path, which . and ..
// would not survive.
func segment(id string) string {
	return strings.ReplaceAll(url.PathEscape(id), ".", "%2E")
}
