package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// fakeBans keep the last one.
type fakeBans struct {
	last Ban
	hold time.Duration
	err  error
}

func (f *fakeBans) Bans() ([]Ban, error) {
	if f.last.Kind == "" {
		return nil, f.err
	}
	return []Ban{f.last}, f.err
}

func (f *fakeBans) AddBan(_ context.Context, b Ban, hold time.Duration) (Ban, error) {
	if f.err != nil {
		return Ban{}, f.err
	}
	f.last, f.hold = b, hold
	return b, nil
}

func (f *fakeBans) RemoveBan(_ context.Context, kind, value string) error {
	if f.last.Kind != kind || f.last.Value != value {
		return NotFound(errors.New("there is none"))
	}
	f.last = Ban{}
	return f.err
}

func TestBans(t *testing.T) {
	f, b := newFixture(), &fakeBans{}
	f.Server.Bans = b
	dir := t.TempDir()
	serve(t, f, dir)
	client := overSocket(dir)
	ask := func(method, path, body string, want int) string {
		t.Helper()
		code, got, err := request(t, client, method, "http://node"+path, strings.NewReader(body))
		if code != want || err != nil {
			t.Errorf("%s %s: %d %s %v", method, path, code, got, err)
		}
		return got
	}
	if got := ask("GET", "/api/v1/bans", "", 200); !strings.Contains(got, `"bans": []`) {
		t.Error(got)
	}
	ask("PUT", "/api/v1/bans/address/10.0.0.0%2F8", `{"reason": "why", "seconds": 90}`, 200)
	if b.last.Kind != "address" || b.last.Value != "10.0.0.0/8" || b.last.Reason != "why" || b.hold != 90*time.Second {
		t.Errorf("%+v for %v", b.last, b.hold)
	}
	if got := ask("GET", "/api/v1/bans", "", 200); !strings.Contains(got, `"10.0.0.0/8"`) {
		t.Error(got)
	}
	for _, body := range []string{"", "[]", `{"seconds": -1}`, `{"until": 3}`} {
		ask("PUT", "/api/v1/bans/user/x", body, 400)
	}
	ask("DELETE", "/api/v1/bans/user/x", "", 404)
	ask("DELETE", "/api/v1/bans/address/10.0.0.0%2F8", "", 204)
	b.err = Invalid(errors.New("no"))
	ask("PUT", "/api/v1/bans/user/x", "{}", 400)
	b.err = errors.New("later")
	ask("GET", "/api/v1/bans", "", 503)
}
