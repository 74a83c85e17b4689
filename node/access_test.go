package node

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/node/config"
	"dunlin/node/limit"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

func doorman(cfg config.Config) *limit.Door {
	return newDoorman(cfg, new(limit.Pressure), func() time.Duration { return 0 }, slog.New(slog.DiscardHandler))
}

// What a client may do that no rule speaks of, and whether one gets in that shows nothing.
func TestDefaultsOfAccess(t *testing.T) {
	dir := t.TempDir()
	users, rules := filepath.Join(dir, "users"), filepath.Join(dir, "rules")
	for path, text := range map[string]string{
		users: "bob:$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ==\n",
		rules: "rules: [{allow: publish, topics: [other]}]\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	topic, err := router.ParseTopic([]byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change    func(*config.Config)
		in, may   bool
		unlimited bool
		warns     string
	}{
		"nothing set":    {change: func(*config.Config) {}, in: true, may: true, unlimited: true},
		"users":          {change: func(c *config.Config) { c.Auth.UsersFile = users }, warns: "set acl.file"},
		"store":          {change: func(c *config.Config) { c.Auth.Store = true }, warns: "set acl.file"},
		"store, rules":   {change: func(c *config.Config) { c.Auth.Store, c.ACL.File = true, rules }},
		"store, anybody": {change: func(c *config.Config) { c.Auth.Store, c.AllowAnonymous = true, true }, in: true, warns: "set acl.file"},
		"certificates":   {change: func(c *config.Config) { c.Auth.Certificate = "dns" }, warns: "set acl.file"},
		"rules":          {change: func(c *config.Config) { c.ACL.File = rules }, in: true},
		"users, rules":   {change: func(c *config.Config) { c.Auth.UsersFile, c.ACL.File = users, rules }},
		"users, anybody": {change: func(c *config.Config) { c.Auth.UsersFile, c.AllowAnonymous = users, true }, in: true, warns: "set acl.file"},
		"anybody":        {change: func(c *config.Config) { c.AllowAnonymous = true }, in: true, may: true, unlimited: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			c.change(&cfg)
			var log bytes.Buffer
			a, err := newAccess(cfg, doorman(cfg), slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer a.close()
			none := new(fakeRecords)
			a.attach(none, none, nil)
			a.look(t.Context())
			a.rules.warn()
			who, err := a.auth.Authenticate(auth.Request{Connect: &mqtt.Connect{}}, nil)
			if (err == nil) != c.in {
				t.Errorf("without credentials: %v", err)
			}
			id := &auth.Identity{ClientID: "c", Principal: who}
			if a.rules.MayPublish(id, topic, 0, false) != c.may || a.rules.MayReceive(id, topic, 0) != c.may || a.rules.Unrestricted() != c.unlimited {
				t.Errorf("may publish or receive: want %v", c.may)
			}
			if warned := strings.Contains(log.String(), "level=WARN"); warned != (c.warns != "") || !strings.Contains(log.String(), c.warns) {
				t.Errorf("log: %s", log.String())
			}
		})
	}
	for key, change := range map[string]func(*config.Config){
		"auth.users-file": func(c *config.Config) { c.Auth.UsersFile = rules },
		"acl.file":        func(c *config.Config) { c.ACL.File = users },
	} {
		cfg := config.Default()
		change(&cfg)
		if _, err := newAccess(cfg, doorman(cfg), slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), key+": "+dir) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// Whoever would prove to know a password is told the same of a name that is not there by all
// nodes of a cluster, nothing before that is known, and has to have a good certificate where
// those name users.
func TestMethodsOfAccess(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ann:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"+
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(change func(*config.Config), cluster map[string]string) map[string]auth.Method {
		t.Helper()
		cfg := config.Default()
		cfg.Auth.UsersFile = users
		change(&cfg)
		a, err := newAccess(cfg, doorman(cfg), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.close)
		if cluster != nil {
			a.decoys.stored = &fakeSecrets{mu: new(sync.Mutex), all: cluster}
			a.look(t.Context())
		}
		methods := map[string]auth.Method{}
		for _, m := range a.methods {
			methods[m.Name()] = m
		}
		return methods
	}
	told := func(change func(*config.Config), cluster map[string]string, user string) (string, error) {
		t.Helper()
		reply, err := open(change, cluster)["SCRAM-SHA-256"].Begin(auth.Request{}).Step([]byte("n,,n="+user+",r=x"), nil)
		_, challenge, _ := strings.Cut(string(reply.Data), ",")
		return challenge, err
	}
	none := func(*config.Config) {}
	key := func(c *config.Config) { c.GossipKey = make([]byte, 32) }
	ours, theirs := map[string]string{}, map[string]string{}
	one, err := told(none, ours, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change  func(*config.Config)
		cluster map[string]string
		user    string
		same    bool
	}{
		"another node":    {none, ours, "nobody", true},
		"another key":     {key, ours, "nobody", true},
		"another name":    {none, ours, "no", false},
		"another cluster": {none, theirs, "nobody", false},
	} {
		if again, err := told(c.change, c.cluster, c.user); err != nil || (again == one) != c.same {
			t.Errorf("%s: %q, %v; at first %q", name, again, err, one)
		}
	}
	if s, _ := told(none, ours, "ann"); s != "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" {
		t.Errorf("a user's salt is another's: %s", s)
	}
	for _, user := range []string{"ann", "nobody"} {
		if s, err := told(none, nil, user); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%s before the cluster is there: %q, %v", user, s, err)
		}
	}
	if open(none, ours)["SCRAM-SHA-512"].Begin(auth.Request{}) != nil {
		t.Error("a method is offered for which there are no verifiers")
	}
	certified := open(func(c *config.Config) { c.Auth.Certificate = "dns" }, ours)
	if _, err := certified["SCRAM-SHA-256"].Begin(auth.Request{Certificate: new(x509.Certificate)}).Step([]byte("n,,n=ann,r=x"), nil); !errors.Is(err, auth.ErrRefused) {
		t.Errorf("a certificate that names nobody: %v", err)
	}
}
