package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/node/admin"
	"dunlin/node/auth"
	"dunlin/node/config"
	"dunlin/proto/mqtt"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// hash costs little to check; it is of no password.
const hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

// fakeRecords are records of one kind, which set replaces as a cluster would.
type fakeRecords struct {
	mu       sync.Mutex
	all      *meta.Records
	watchers []func(*meta.Records)
}

func (f *fakeRecords) All() *meta.Records {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all
}

func (f *fakeRecords) Watch(w func(*meta.Records)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, w)
	w(f.all)
}

func (f *fakeRecords) set(records map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := &meta.Records{Revision: 1}
	if f.all != nil {
		next.Revision = f.all.Revision + 1
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		next.List = append(next.List, &meta.Record{Name: name, Value: records[name], Revision: next.Revision})
	}
	f.all = next
	for _, w := range f.watchers {
		w(next)
	}
}

// Users of the store are followed: who is added is let in, who is removed or has another
// password is expelled, once, and nobody is while nobody is withdrawn.
func TestAccountsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config.Default()
		cfg.Auth.Store = true
		var log bytes.Buffer
		a, err := newAccess(cfg, doorman(cfg), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		all, expelled := new(fakeRecords), 0
		a.attach(all, new(fakeRecords), func(context.Context) (int, error) {
			expelled++
			return 1, nil
		})
		all.set(map[string]string{"ann": hash})
		a.look(t.Context())
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		go a.follow(ctx)
		now := func() {
			time.Sleep(2 * followPace)
			synctest.Wait()
		}
		ann := a.stored.now().Principal("ann")
		if ann == nil || a.former()(ann) || a.former()(nil) {
			t.Fatal("ann is not let in")
		}
		for i, step := range []struct {
			set      map[string]string
			gone     bool
			expelled int
		}{
			{map[string]string{"ann": hash, "bob": hash}, false, 0},
			{map[string]string{"ann": hash}, false, 1},
			{map[string]string{"ann": hash, "eve": "nonsense"}, false, 1},
			{map[string]string{"ann": strings.Replace(hash, "C", "D", 1)}, true, 2},
			{map[string]string{}, true, 3},
		} {
			all.set(step.set)
			now()
			if a.former()(ann) != step.gone || expelled != step.expelled {
				t.Errorf("step %d: ann gone %v, expelled %d times", i, a.former()(ann), expelled)
			}
		}
		// Changes that come all at once are taken together.
		for range 100 {
			all.set(map[string]string{"ann": hash})
			all.set(map[string]string{})
		}
		now()
		if expelled > 5 {
			t.Errorf("expelled %d times", expelled)
		}
		if !strings.Contains(log.String(), "user \\\"eve\\\": not a password hash") || strings.Contains(log.String(), "c29tZXNhbHQ") {
			t.Errorf("log: %s", log.String())
		}
	})
}

// Without auth.store nobody of the store is let in, whoever is in it.
func TestStoreHasToBeAsked(t *testing.T) {
	cfg := config.Default()
	cfg.Auth.UsersFile = filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(cfg.Auth.UsersFile, []byte("bob:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := newAccess(cfg, doorman(cfg), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	all := new(fakeRecords)
	all.set(map[string]string{"ann": hash})
	a.attach(all, new(fakeRecords), nil)
	a.look(t.Context())
	answers := make(chan error, 1)
	_, err = a.auth.Authenticate(auth.Request{Connect: &mqtt.Connect{HasUsername: true, Username: []byte("ann")}},
		func(_ *auth.Principal, err error) { answers <- err })
	if errors.Is(err, auth.ErrLater) {
		err = <-answers
	}
	if !errors.Is(err, auth.ErrBadCredentials) || a.stored != nil {
		t.Errorf("%v", err)
	}
}

// Rules of the file are asked first, then those of the cluster, which follow it; those that
// cannot be read change nothing, or allow nothing.
func TestRulebook(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte("rules: [{deny: all, topics: [no]}, {allow: publish, topics: [file]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const some = "rules: [{allow: all, topics: [no]}, {allow: publish, topics: [store]}]"
	for name, c := range map[string]struct {
		file    bool
		sets    []string // "": they are removed
		allowed string   // of the topics
		free    bool
	}{
		"none":                       {false, nil, "no file store other", true},
		"file":                       {true, nil, "file", false},
		"store":                      {false, []string{some}, "no store", false},
		"both":                       {true, []string{some}, "file store", false},
		"removed":                    {false, []string{some, ""}, "no file store other", true},
		"removed beside a file":      {true, []string{some, ""}, "file", false},
		"replaced":                   {false, []string{some, "rules: [{allow: all, topics: [other]}]"}, "other", false},
		"unreadable":                 {false, []string{some, "rules: [{permit: all}]"}, "no store", false},
		"unreadable at first":        {false, []string{"rules: [{permit: all}]"}, "", false},
		"unreadable beside a file":   {true, []string{"nonsense"}, "file", false},
		"readable at last":           {false, []string{"nonsense", some}, "no store", false},
		"open":                       {false, []string{"otherwise: allow\n" + some}, "no file store other", false},
		"open, but the file is not ": {true, []string{"otherwise: allow\n" + some}, "file store", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			if c.file {
				cfg.ACL.File = file
			}
			a, err := newAccess(cfg, doorman(cfg), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer a.close()
			all := new(fakeRecords)
			a.attach(new(fakeRecords), all, nil)
			a.look(t.Context())
			for _, text := range c.sets {
				records := map[string]string{}
				if text != "" {
					records[rulesName] = text
				}
				all.set(records)
				a.look(t.Context())
			}
			var allowed []string
			for _, topic := range []string{"no", "file", "store", "other"} {
				p, err := router.ParseTopic([]byte(topic))
				if err != nil {
					t.Fatal(err)
				}
				if a.rules.MayPublish(&auth.Identity{ClientID: "c"}, p, 0, false) {
					allowed = append(allowed, topic)
				}
			}
			if got := strings.Join(allowed, " "); got != c.allowed || a.rules.Unrestricted() != c.free {
				t.Errorf("allowed %q, unrestricted %v", got, a.rules.Unrestricted())
			}
		})
	}
}

// What administrators are told is what clients would be, with the rule's place in its list.
func TestCheckRules(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte("rules: [{deny: all, topics: [no]}, {allow: all, topics: [\"of/${cert}\"]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.ACL.File, cfg.ACL.DenyFilters = file, []string{"never"}
	a, err := newAccess(cfg, doorman(cfg), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	all := new(fakeRecords)
	all.set(map[string]string{rulesName: "rules: [{allow: publish, topics: [x]}, {allow: subscribe, users: [ann], topics: [\"#\"]}]"})
	a.attach(new(fakeRecords), all, nil)
	a.look(t.Context())
	s := ruleset{n: &Node{access: a}}
	for _, c := range []struct {
		q    admin.Question
		want admin.Verdict
	}{
		{admin.Question{Action: admin.Publish, Topic: "no"}, admin.Verdict{By: admin.ByFile, Rule: 1, Text: `{deny: all, topics: ["no"]}`}},
		{admin.Question{Action: admin.Publish, Topic: "of/ann", User: "ann", Certified: true}, admin.Verdict{Allowed: true, By: admin.ByFile, Rule: 2, Text: `{allow: all, topics: ["of/${cert}"]}`}},
		{admin.Question{Action: admin.Publish, Topic: "of/ann", User: "ann"}, admin.Verdict{By: admin.ByDefault}},
		{admin.Question{Action: admin.Publish, Topic: "x"}, admin.Verdict{Allowed: true, By: admin.ByStore, Rule: 1, Text: `{allow: publish, topics: ["x"]}`}},
		{admin.Question{Action: admin.Subscribe, Topic: "y/+", User: "ann"}, admin.Verdict{Allowed: true, By: admin.ByStore, Rule: 2, Text: `{allow: subscribe, users: ["ann"], topics: ["#"]}`}},
		{admin.Question{Action: admin.Subscribe, Topic: "#", User: "ann"}, admin.Verdict{By: admin.ByFile, Rule: 1, Text: `{deny: all, topics: ["no"]}`}},
		{admin.Question{Action: admin.Subscribe, Topic: "never", User: "ann"}, admin.Verdict{By: admin.ByDenyFilters}},
		{admin.Question{Action: admin.Publish, Topic: "$SYS/x", User: "ann"}, admin.Verdict{By: admin.ByReserved}},
	} {
		if got, err := s.CheckRules(c.q); err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v", c.q, got, err)
		}
	}
	var no *admin.Refusal
	for _, q := range []admin.Question{{Action: admin.Publish, Topic: "a/+"}, {Action: admin.Subscribe, Topic: "a+"}} {
		if _, err := s.CheckRules(q); !errors.As(err, &no) || no.Code != 400 {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
