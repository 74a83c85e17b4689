package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// fakeUsers are users by name, of whom it keeps what was put.
type fakeUsers struct {
	names []string
	put   map[string]Credentials
	added bool
	err   error
}

func (f *fakeUsers) Users(_ context.Context, after string, limit int) (page []User, inUse bool, err error) {
	for _, name := range f.names {
		if name > after && len(page) < limit {
			page = append(page, User{Name: name, Revision: 7})
		}
	}
	return page, true, f.err
}

func (f *fakeUsers) PutUser(_ context.Context, name string, c Credentials, add bool) (uint64, error) {
	if f.err != nil {
		return 0, f.err
	}
	f.put, f.added = map[string]Credentials{name: c}, add
	return 8, nil
}

func (f *fakeUsers) RemoveUser(_ context.Context, name string) error {
	if !slices.Contains(f.names, name) {
		return NotFound(errors.New("there is no user"))
	}
	return f.err
}

// fakeRules are rules that are a text, and allow what is asked of topic "may".
type fakeRules struct {
	text  string
	asked Question
	err   error
}

func (f *fakeRules) Rules(context.Context) (RuleSet, error) {
	return RuleSet{Text: f.text, Rules: 1, FileRules: 2, Revision: 3}, f.err
}

func (f *fakeRules) SetRules(ctx context.Context, text string) (RuleSet, error) {
	if text == "wrong" {
		return RuleSet{}, Invalid(errors.New("no rules"))
	}
	f.text = text
	return f.Rules(ctx)
}

func (f *fakeRules) RemoveRules(context.Context) error {
	f.text = ""
	return f.err
}

func (f *fakeRules) CheckRules(q Question) (Verdict, error) {
	f.asked = q
	return Verdict{Allowed: q.Topic == "may", By: ByStore, Rule: 4, Text: "{}"}, f.err
}

func TestUsers(t *testing.T) {
	var log strings.Builder
	f, u := newFixture(), &fakeUsers{names: []string{"ann", "bob", "eve"}}
	f.Server.Users, f.Log = u, slog.New(slog.NewTextHandler(&log, nil))
	dir := t.TempDir()
	serve(t, f, dir)
	client := overSocket(dir)
	const at = "http://node/api/v1/users"
	ask := func(method, path, body string, want int, says string) {
		t.Helper()
		if code, got, err := request(t, client, method, at+path, strings.NewReader(body)); code != want || err != nil || !strings.Contains(got, says) {
			t.Errorf("%s %s: %d %s %v, want %d with %s", method, path, code, got, err, want, says)
		}
	}
	ask("GET", "?limit=2", "", 200, `"next": "bob"`)
	ask("GET", "?limit=2&after=bob", "", 200, `"name": "eve"`)
	ask("GET", "?after=x", "", 200, `"users": []`)
	ask("GET", "?limit=0", "", 400, "limit: want")
	ask("PUT", "/a%2Fb%20%2E", `{"password": "secret"}`, 200, `"revision": 8`)
	if c := u.put["a/b ."]; c != (Credentials{Password: "secret"}) || u.added {
		t.Errorf("put %v", u.put)
	}
	ask("PUT", "/ann", `{"hash": "$x"}`, 200, `"in_use": true`)
	if c := u.put["ann"]; c != (Credentials{Hash: "$x"}) {
		t.Errorf("put %v", u.put)
	}
	for _, body := range []string{"", "secret", `{"passwort": "secret"}`, `{"password": 1secret}`} {
		ask("PUT", "/ann", body, 400, "want {")
	}
	ask("PUT", "/ann", `{"password": "`+strings.Repeat("x", maxBodyBytes)+`"}`, 400, "want {")
	ask("DELETE", "/bob", "", 204, "")
	ask("DELETE", "/nobody", "", 404, "no user")
	for code, err := range map[int]error{
		400: Invalid(errors.New("a name")), 409: Conflict(errors.New("there")), 500: fmt.Errorf("%w: lost", ErrUnknown), 503: io.ErrNoProgress,
	} {
		u.err = err
		ask("PUT", "/ann", `{"password": "secret"}`, code, err.Error())
	}
	if strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), `user="a/b ." revision=8`) {
		t.Errorf("log: %s", log.String())
	}
	for _, path := range []string{"/api/v1/users", "/api/v1/acl"} {
		if code, _ := f.ask(healthOnly, "GET", path); code != 403 {
			t.Errorf("%s beyond loopback: %d", path, code)
		}
	}
	u.err = nil
	ask("PUT", "/ann?new=true", `{"password": "x"}`, 200, "")
	if !u.added {
		t.Error("a new user was asked for, and another one was changed")
	}
	ask("PUT", "/ann?new=yes", `{"password": "x"}`, 400, "new: want")
}

func TestRules(t *testing.T) {
	f, rules := newFixture(), new(fakeRules)
	f.Server.Rules = rules
	dir := t.TempDir()
	serve(t, f, dir)
	client := overSocket(dir)
	const at = "http://node/api/v1/acl"
	ask := func(method, path, body string, want int, says string) {
		t.Helper()
		if code, got, err := request(t, client, method, at+path, strings.NewReader(body)); code != want || err != nil || !strings.Contains(got, says) {
			t.Errorf("%s %s: %d %s %v, want %d with %s", method, path, code, got, err, want, says)
		}
	}
	ask("GET", "", "", 200, `"text": ""`)
	large := strings.Repeat("x", maxRulesBytes)
	ask("PUT", "", large, 200, `"revision": 3`)
	if rules.text != large {
		t.Errorf("%d bytes", len(rules.text))
	}
	ask("PUT", "", large+"x", 413, "want rules of at most")
	ask("PUT", "", "wrong", 400, "no rules")
	ask("DELETE", "", "", 204, "")
	ask("GET", "/check?action=publish&topic=may&client=c&user=u&qos=2&retain=true&certificate=true", "", 200, `"allowed": true`)
	if want := (Question{Client: "c", User: "u", Certified: true, Action: Publish, Topic: "may", QoS: 2, Retain: true}); rules.asked != want {
		t.Errorf("asked %+v", rules.asked)
	}
	ask("GET", "/check?action=subscribe&topic=a/%2B", "", 200, `"rule": 4`)
	if want := (Question{Action: Subscribe, Topic: "a/+"}); rules.asked != want {
		t.Errorf("asked %+v", rules.asked)
	}
	ask("GET", "/check?topic=a", "", 400, "action: want")
	ask("GET", "/check?action=publish&topic=a&qos=3", "", 400, "qos: want")
	ask("GET", "/check?action=publish&topic=a&retain=yes", "", 400, "retain: want")
	rules.err = io.ErrNoProgress
	ask("GET", "", "", 503, "")
	ask("DELETE", "", "", 503, "")
}
