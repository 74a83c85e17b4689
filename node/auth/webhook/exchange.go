package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"dunlin/node/auth"
	"dunlin/node/auth/acl"
)

const (
	maxAnswer = 16 << 10 // bytes, of the body, and of the header
	maxName   = 1 << 10  // bytes, of a user's name
	maxRules  = 64       // of a client's own
	maxGroups = 256
)

// question is what the server is sent, in JSON.
type question struct {
	ClientID       string       `json:"client_id"` // "": the node gives it one
	Username       *string      `json:"username,omitempty"`
	Password       *string      `json:"password,omitempty"`        // if it is UTF-8
	PasswordBase64 []byte       `json:"password_base64,omitempty"` // if it is not
	Address        string       `json:"address"`                   // IP
	Port           uint16       `json:"port"`
	Listener       string       `json:"listener"`
	Protocol       string       `json:"protocol"`
	Certificate    *certificate `json:"certificate,omitempty"` // that TLS has verified
}

type certificate struct {
	Subject string   `json:"subject"` // as RFC 2253 writes it
	DNS     []string `json:"dns,omitempty"`
	Email   []string `json:"email,omitempty"`
	URI     []string `json:"uri,omitempty"`
	SHA256  string   `json:"sha256"` // of the whole, in hexadecimal
}

func certificateOf(c *x509.Certificate) *certificate {
	sum := sha256.Sum256(c.Raw)
	x := &certificate{Subject: c.Subject.String(), DNS: c.DNSNames, Email: c.EmailAddresses, SHA256: hex.EncodeToString(sum[:])}
	for _, u := range c.URIs {
		x.URI = append(x.URI, u.String())
	}
	return x
}

func (q *question) setPassword(b []byte) {
	if !utf8.Valid(b) {
		q.PasswordBase64 = append([]byte(nil), b...)
		return
	}
	text := string(b)
	q.Password = &text
}

// verdict is what the server answers. A field that is not known is an error: it may
// restrict the client in a way that nobody here would keep to.
type verdict struct {
	Result string  `json:"result"`
	User   *string `json:"user"` // in place of what the client claims

	Expires *int64     `json:"expires"` // seconds since 1970, when the connection ends
	ACL     []acl.Rule `json:"acl"`     // before those of everybody
	Groups  []string   `json:"groups"`  // that rules speak of

	rights auth.Rights // of ACL
}

const (
	resultAllow  = "allow"
	resultDeny   = "deny"
	resultIgnore = "ignore"
)

// principal is whom the server let in.
func (v *verdict) principal(claimed string) *auth.Principal {
	if v.User != nil {
		claimed = *v.User
	}
	if claimed == "" {
		return nil
	}
	p := auth.NewPrincipal(claimed)
	if v.extends() {
		p = p.With(auth.Extras{Rights: v.rights, Groups: v.Groups, Expires: v.until()})
	}
	return p
}

// extends says whether the client is to have more than a name.
func (v *verdict) extends() bool { return v.Expires != nil || v.rights != nil || len(v.Groups) > 0 }

// until is when the connection ends; zero for never.
func (v *verdict) until() time.Time {
	if v.Expires == nil {
		return time.Time{}
	}
	return time.Unix(*v.Expires, 0)
}

// check says what cannot be kept to, or makes no sense, and makes the rights ready.
func (v *verdict) check(claimed string, now time.Time) (err error) {
	if len(v.ACL) > maxRules || len(v.Groups) > maxGroups || slices.Contains(v.Groups, "") {
		return fmt.Errorf("%d rules, %d groups, want at most %d and %d, with names", len(v.ACL), len(v.Groups), maxRules, maxGroups)
	}
	if len(v.ACL) > 0 {
		own, err := acl.NewOwn(v.ACL)
		if err != nil {
			return fmt.Errorf("acl: %w", err)
		}
		v.rights = own
	}
	switch {
	case v.Result != resultAllow:
	case v.Expires != nil && !v.until().After(now):
		return fmt.Errorf("expires: %d is over", *v.Expires)
	case v.extends() && claimed == "" && v.User == nil:
		return errors.New("who has expires, acl or groups needs a user")
	}
	return nil
}

// exchange asks, and reads the answer.
func (w *Webhook) exchange(ctx context.Context, q *question) (v verdict, err error) {
	if err := ctx.Err(); err != nil {
		return v, fmt.Errorf("no turn in time: %w", err)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return v, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.URL, bytes.NewReader(body))
	if err != nil {
		return v, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "dunlin")
	req.Header["Idempotency-Key"] = nil // not sent; it lets a connection that was kept and has just ended be another
	if w.o.Secret != nil {
		req.Header.Set(w.o.Header, w.o.Secret())
	}
	resp, err := w.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text has the URL
		}
		return v, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return v, fmt.Errorf("status %d, want 200", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return v, err
	}
	return parse(text)
}

// parse reads an answer.
func parse(text []byte) (v verdict, err error) {
	if len(text) > maxAnswer {
		return v, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("the answer is not understood: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, errors.New("the answer is not understood: more than one value")
	}
	switch v.Result {
	case resultAllow, resultDeny, resultIgnore:
	default:
		return v, fmt.Errorf("result %.32q, want %q, %q or %q", v.Result, resultAllow, resultDeny, resultIgnore)
	}
	if v.User != nil && (*v.User == "" || len(*v.User) > maxName || hasControls(*v.User)) {
		return v, fmt.Errorf("user %.32q, want 1 to %d bytes without control characters", *v.User, maxName)
	}
	return v, nil
}

func hasControls(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

// ReadSecret reads what the header is to say: the file's only line.
func ReadSecret(r io.Reader) (string, error) {
	const limit = 4 << 10
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 || len(b) > limit || bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("want one line of up to %d printable characters of ASCII", limit)
	}
	return string(b), nil
}

// ReadCA reads the certificates of the authorities that may sign the server's.
func ReadCA(r io.Reader) (*x509.CertPool, error) {
	b, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}
