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
	client, base, err := a.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("ask the node at %s: %w", a.where(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of the node: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		var f admin.Failure
		if json.Unmarshal(body, &f) != nil || f.Error == "" {
			f.Error = resp.Status
		}
		return errors.New(f.Error)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read the answer of the node: %w", err)
	}
	return nil
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
