package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/node/config"
)

// eventually looks again until f returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// Users and rules that are given to one of three nodes hold on all of them, by both ways
// to ask a node.
func TestUsersAndRulesOfACluster(t *testing.T) {
	nodes := testNodes(t, 3, func(c *config.Config) { c.Auth.Store = true })
	first, third := nodes[0], nodes[2]
	do := func(stdin string, args ...string) (code int, out string) {
		t.Helper()
		code, stdout, stderr := dunlin(t, stdin, args...)
		return code, stdout + stderr
	}
	must := func(want, stdin string, args ...string) {
		t.Helper()
		if code, out := do(stdin, args...); code != 0 || out != want {
			t.Fatalf("%v: %d, %q, want %q", args, code, out, want)
		}
	}
	refused := func(says, stdin string, args ...string) {
		t.Helper()
		if code, out := do(stdin, args...); code != 1 || !strings.Contains(out, says) {
			t.Errorf("%v: %d, %q, want %q", args, code, out, says)
		}
	}
	at := func(c config.Config) []string { return []string{"--http", c.HTTPAddr} }
	socket := []string{"--data-dir", first.DataDir}
	with := func(way []string, args ...string) []string { return append(args, way...) }
	pub := func(c config.Config, pass string) error {
		if code, out := do("", mqttFlags(c, "pub", "-i", "desk", "-u", "ann", "-P", pass, "-t", "of/desk", "-m", "x", "-q", "1")...); code != 0 {
			return fmt.Errorf("%s", out)
		}
		return nil
	}

	must("USER\n", "", with(at(third), "user", "list")...)
	must("", "secret\n", with(socket, "user", "add", "ann")...)
	must("", "other", with(at(nodes[1]), "user", "add", "../zoë.")...)
	refused(`user "ann" is there already`, "third", with(at(third), "user", "add", "ann")...)
	eventually(t, "users everywhere", func() error {
		if _, out := do("", with(at(third), "user", "list", "-o", "json")...); out != "[\n  \"../zoë.\",\n  \"ann\"\n]\n" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	eventually(t, "a user who may do nothing yet", func() error {
		if err := pub(third, "secret"); err == nil || !strings.Contains(err.Error(), "not authorized") {
			return errors.Join(errors.New("not refused as one"), err)
		}
		return nil
	})

	rules := filepath.Join(t.TempDir(), "rules.yaml")
	const text = "rules:\n  - {allow: all, users: [ann], topics: [\"of/${clientid}\"]}\n"
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must("the cluster has no rules\n", "", with(at(third), "acl", "show")...)
	must("the cluster has 1 rules, revision 1\n", "", with(socket, "acl", "set", rules)...)
	refused("-: rule 1: allow:", "rules: [{allow: some, topics: [a]}]", with(socket, "acl", "set", "-")...)
	must("allowed by rule 1 of the cluster: {allow: all, users: [\"ann\"], topics: [\"of/${clientid}\"]}\n", "",
		with(socket, "acl", "check", "desk", "publish", "of/desk", "-u", "ann")...)
	must("denied: no rule speaks of it\n", "", with(socket, "acl", "check", "desk", "subscribe", "of/+", "-u", "ann")...)
	refused(`topic: "of/+" is not allowed`, "", with(socket, "acl", "check", "desk", "publish", "of/+")...)
	eventually(t, "rules everywhere", func() error { return pub(third, "secret") })
	must(text, "", with(at(third), "acl", "show")...)

	l := subscribe(t, third, "-i", "desk", "-u", "ann", "-P", "secret", "-t", "of/desk", "-q", "1")
	must("", "changed", with(socket, "user", "passwd", "ann")...)
	if code, out := l.wait(t); code != 1 || out != "" {
		t.Errorf("a client whose password was changed: %d %q", code, out)
	}
	if err := pub(third, "secret"); err == nil || !strings.Contains(err.Error(), "bad user name or password") {
		t.Errorf("the former password: %v", err)
	}
	if err := pub(third, "changed"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	l = subscribe(t, third, "-i", "desk", "-u", "ann", "-P", "changed", "-t", "of/desk", "-q", "1")
	must("", "", with(socket, "user", "remove", "ann")...)
	if code, out := l.wait(t); code != 1 || out != "" {
		t.Errorf("a client whose user was removed: %d %q", code, out)
	}
	if err := pub(third, "changed"); err == nil || !strings.Contains(err.Error(), "bad user name or password") {
		t.Errorf("a user who was removed: %v", err)
	}
	refused(`there is no user "ann"`, "", with(socket, "user", "remove", "ann")...)
	must("", "", with(at(nodes[1]), "acl", "remove")...)
	refused("the cluster has no rules", "", with(at(nodes[1]), "acl", "remove")...)
	refused("want 1 to 1024", strings.Repeat("x", 1025), with(socket, "user", "add", "long")...)
}

// Who adds users where nobody asks for them is told so.
func TestUsersThatNobodyAsksFor(t *testing.T) {
	c := testNode(t)
	code, stdout, stderr := dunlin(t, "secret", "user", "add", "ann", "--data-dir", c.DataDir)
	if code != 0 || stdout != "" || !strings.Contains(stderr, "set auth.store: true") {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}
