package node

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/config"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

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
			a, err := newAccess(cfg, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer a.close()
			who, err := a.auth.Authenticate(auth.Request{Connect: &mqtt.Connect{}}, nil)
			if (err == nil) != c.in {
				t.Errorf("without credentials: %v", err)
			}
			id := &auth.Identity{ClientID: "c", Principal: who}
			if a.guard.MayPublish(id, topic, 0, false) != c.may || a.guard.MayReceive(id, topic, 0) != c.may || a.guard.Unrestricted() != c.unlimited {
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
		if _, err := newAccess(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), key+": "+dir) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
