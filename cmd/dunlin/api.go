package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"dunlin/node/config"
	"dunlin/node/token"
)

// api is the HTTP interface of a running node, by the flags that say where.
type api struct {
	dataDir   string
	http      string
	timeout   time.Duration
	tokenFile string
	ca        string
}

const defaultHTTP = "127.0.0.1:18083"

func (a *api) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&a.dataDir, "data-dir", "", "the node's data `directory`, whose admin.sock is used (default ./data)")
	flags.StringVar(&a.http, "http", "", "the node's http-`addr`ess, used in place of admin.sock (default "+defaultHTTP+" if there is no ./data)")
	flags.StringVar(&a.tokenFile, "token-file", "", "`file` with the token to bear at --http (default $"+config.EnvToken+")")
	flags.StringVar(&a.ca, "ca", "", "PEM `file` with the authorities to trust at --http, which then speaks TLS (default the system's)")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to wait")
}

// do asks and decodes the answer into v, unless v is nil.
func (a *api) do(ctx context.Context, method, path string, v any) error {
	return a.send(ctx, method, path, nil, v)
}

// send is do with a body.
func (a *api) send(ctx context.Context, method, path string, body io.Reader, v any) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	answer, err := a.stream(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of the node: %w", err)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
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
	if a.http != "" {
		if err := a.bear(req); err != nil {
			return nil, err
		}
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
		return a.overTCP()
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return admin.Dial(ctx, a.dataDir) }
	return &http.Client{Transport: &http.Transport{DialContext: dial}}, "http://node", nil
}

// overTCP is for --http. Where it says nothing of TLS, that is spoken beyond loopback, and with
// --ca.
func (a *api) overTCP() (*http.Client, string, error) {
	base := strings.TrimSuffix(a.http, "/")
	if !strings.Contains(base, "://") {
		scheme := "https://"
		if a.ca == "" && config.IsLoopback(base) {
			scheme = "http://"
		}
		base = scheme + base
	}
	// A redirect would take the token elsewhere.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if a.ca == "" {
		return client, base, nil
	}
	if strings.HasPrefix(base, "http://") {
		return nil, "", wrongUsage("--ca is for TLS, and --http %s is without", a.http)
	}
	pem, err := os.ReadFile(a.ca)
	if err != nil {
		return nil, "", wrongUsage("--ca: %s", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, "", wrongUsage("--ca %q: no certificate in it", a.ca)
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return client, base, nil
}

// bear gives a request the token, if there is one.
func (a *api) bear(req *http.Request) error {
	secret := os.Getenv(config.EnvToken)
	if a.tokenFile != "" {
		b, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return wrongUsage("--token-file: %s", err)
		}
		secret = string(b)
	}
	if secret = strings.TrimSpace(secret); secret == "" {
		if a.tokenFile != "" {
			return wrongUsage("--token-file %q is empty", a.tokenFile)
		}
		return nil
	}
	if err := token.CheckSecret(secret); err != nil {
		return wrongUsage("the token of --token-file or $%s: %w", config.EnvToken, err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	return nil
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
