package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary stand in for dunlin, so that tests can run it
// as a process.
func TestMain(m *testing.M) {
	if os.Getenv(beDunlin) != "" {
		main()
	}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "DUNLIN_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

const beDunlin = "BE_DUNLIN"

// dunlin runs a command line in this process.
func dunlin(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("mqtt-adr: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := "127.0.0.1:1" // where nothing listens
	for _, tt := range []struct {
		args string
		code int
		says string // on standard error, or output if the code is 0
	}{
		{"", 0, "clustered MQTT broker"},
		{"--help", 0, "dunlin dev"},
		{"version", 0, "dunlin "},
		{"version x", 2, `dunlin: dunlin version: "x" is one argument too many`},
		{"nonsense", 2, `dunlin: dunlin has no command "nonsense"`},
		{"srve", 2, "did you mean serve?"},
		{"--nonsense", 2, "dunlin: unknown flag: --nonsense; see dunlin --help"},
		{"serve --mqtt-adr x", 2, "dunlin: unknown flag: --mqtt-adr, did you mean --mqtt-addr? See dunlin serve --help"},
		{"serve --tls-cert x", 2, "dunlin: unknown flag: --tls-cert: tls.cert is set in the file, or by DUNLIN_TLS__CERT in the environment"},
		{"config check --limits.max-keepalive 3s", 2, "limits.max-keepalive is set in the file, or by DUNLIN_LIMITS__MAX_KEEPALIVE in the environment"},
		{"sub --tls-cert x -t a", 2, "dunlin: unknown flag: --tls-cert; see dunlin sub --help"},
		{"cluster remove n4 --wiat", 2, "did you mean --wait?"},
		{"sub -h 127.0.0.1:1883 -t a", 2, `dunlin: -h, --host: "127.0.0.1:1883" is not allowed: want a host alone`},
		{"sub -h ws://127.0.0.1/mqtt -t a", 2, `"ws://127.0.0.1/mqtt" is not allowed: want a host alone`},
		{"sub -p 1 -t a/#/b", 2, `dunlin: -t "a/#/b": `},
		{"config", 0, "Check and show configuration"},
		{"config chek", 2, `dunlin: dunlin config has no command "chek", did you mean check?`},
		{"config check", 0, "the configuration is good"},
		{"config check --config " + bad, 1, bad + `:1: "mqtt-adr": unknown setting, did you mean mqtt-addr?`},
		{"config check --loops x", 2, `dunlin: flag: --loops: "x" is not allowed: want a whole number from 0 to 255`},
		{"config check --http-addr 127.0.0.1:1883", 2, `dunlin: flag: --http-addr: "127.0.0.1:1883" is not allowed: it is that of mqtt-addr too, want another one`},
		{"config check --mqtt-addr 0.0.0.0:1883", 2, "allow-anonymous"},
		{"config check --mqtt-addr 0.0.0.0:1883 --allow-anonymous", 0, "good"},
		{"config show -o xml", 2, `dunlin: -o, --output: "xml" is not allowed: want table, json or yaml; see`},
		{"serve --config /nowhere.yaml", 1, "dunlin: /nowhere.yaml: no such file or directory"},
		{"serve --config " + bad, 1, "unknown setting"},
		{"serve --shards 65", 2, `"65" is not allowed: want a whole number from 1 to 64`},
		{"serve x", 2, "one argument too many"},
		{"dev --nodes 0", 2, "--nodes: want 1 to 50"},
		{"dev --nodes 3 --base-port-offset 60000", 2, "--base-port-offset: want 0 to 47450 with 3 nodes"},
		{"pub -m x", 2, "want a topic: -t"},
		{"pub -t a", 2, "want one of -m, -f, -s, -l and -n"},
		{"pub -t a -m x -n", 2, "want one of"},
		{"pub -t a/# -m x", 2, "want a topic without wildcards"},
		{"pub -t a -m x -q 3", 2, `dunlin: -q, --qos: "3" is not allowed: want 0, 1 or 2`},
		{"pub -t a -m x --will-topic w --will-qos 4", 2, `dunlin: --will-qos: "4" is not allowed: want 0, 1 or 2`},
		{"pub -t a -m x -q one", 2, `dunlin: -q, --qos: "one" is not allowed: want a whole number from 0 to 255; see dunlin pub --help`},
		{"pub -t a -m x -p 1883x", 2, `dunlin: -p, --port: "1883x" is not allowed: want a whole number from 0 to 65535; see dunlin pub --help`},
		{"pub -t a -m x -p 99999", 2, `"99999" is not allowed: want a whole number from 0 to 65535`},
		{"sub -t a -x -1", 2, `"-1" is not allowed: want a whole number from 0 to 4294967295`},
		{"sub -t a -C x", 2, `dunlin: -C, --count: "x" is not allowed: want a whole number; see`},
		{"sub -t a -W 5", 2, `dunlin: -W, --wait: "5" is not allowed: want a duration, such as 500ms, 30s or 5m; see`},
		{"cluster remove n4 --wait=maybe", 2, `dunlin: --wait: "maybe" is not allowed: want true or false; see`},
		{"dev --nodes three", 2, `dunlin: --nodes: "three" is not allowed: want a whole number; see`},
		{"pub -t a -m x --ws=mqtt", 2, `dunlin: --ws: "mqtt" is not allowed: want a path, such as /mqtt`},
		{"pub -t a -m x -V 4", 2, "want 5, 311 or 31"},
		{"pub -t a -m x -V 311 --user-property a=b", 2, "properties are of MQTT 5.0"},
		{"pub -t a -m x --user-property ab", 2, "want name=value"},
		{"pub -t a -m x -c", 2, "want -i"},
		{"pub -t a -m x --will-retain", 2, "a will needs --will-topic"},
		{"pub -t a -m x -V 311 -P secret", 2, "want -u"},
		{"pub -t a -m x -p 1", 1, "connection refused"},
		{"sub", 2, "want at least one filter: -t"},
		{"sub -t a -V 311 --no-local", 2, "are of MQTT 5.0"},
		{"sub -t a -p 1", 1, "connection refused"},
		{"clients ls --http " + nobody, 1, "dunlin: ask the node at " + nobody},
		{"clients ls --http x --data-dir y", 2, "want one"},
		{"clients ls --data-dir /nowhere", 1, "ask the node at /nowhere/admin.sock"},
		{"clients show", 2, "dunlin clients show: want the client identifier"},
		{"clients kick a b", 2, `"b" is one argument too many`},
		{"cluster status --http " + nobody, 1, "connection refused"},
		{"cluster verify --http " + nobody, 1, "connection refused"},
		{"cluster verify x", 2, "one argument too many"},
		{"cluster backup", 2, "want the file to write"},
		{"cluster backup " + bad, 1, "is there already"},
		{"cluster restore", 2, "want the file of a backup"},
		{"cluster restore " + bad, 1, "not a whole backup file"},
		{"cluster recover", 2, "want the data directories"},
		{"cluster recover --data-dir x f", 2, "want --accept-loss"},
		{"cluster recover --data-dir x --accept-loss", 2, "want the file to write"},
		{"cluster recover --data-dir /nowhere", 1, "nothing of a cluster is here"},
		{"cluster remove", 2, "want the node's name"},
		{"cluster remove n1 --undo --wait", 2, "want one of them"},
		{"cluster remove n1 --http " + nobody, 1, "connection refused"},
		{"cluster transfer 1", 2, "want the node's name"},
		{"cluster rebalance n1", 2, "one argument too many"},
		{"cluster replicas", 2, "want the number of replicas"},
		{"cluster replicas 0", 2, `"0" is not allowed: want a number from 1 to 9`},
		{"cluster replicas three", 2, "want a number from 1 to 9"},
		{"user passwd x --file f --http h", 2, "want one"},
		{"user remove x --file=", 2, "--file is empty"},
		{"user add", 2, "want the user's name"},
		{"user add a:b", 2, "a name is UTF-8 without colons"},
		{"user list --http " + nobody, 1, "connection refused"},
		{"user remove x --http " + nobody, 1, "connection refused"},
		{"acl set", 2, "want the file of rules"},
		{"acl set /nowhere/rules", 1, "no such file"},
		{"acl set " + bad, 1, "mqtt-adr"},
		{"acl show --http " + nobody, 1, "connection refused"},
		{"acl check c publish", 2, "want the topic"},
		{"acl check c receive t", 2, `"receive" is not allowed: want publish or subscribe`},
		{"acl check c publish t -q 3", 2, `"3" is not allowed: want 0, 1 or 2`},
		{"acl check c publish t --certificate", 2, "want the user that it names"},
		{"user list --file /nowhere/users", 1, "no such file"},
		{"cluster replicas 3 --http " + nobody, 1, "connection refused"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			code, stdout, stderr := dunlin(t, "", strings.Fields(tt.args)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			says := stderr
			if code == 0 {
				says = stdout
			}
			if !strings.Contains(says, tt.says) {
				t.Errorf("says %q, want %q", says, tt.says)
			}
			if code != 0 && (strings.Count(stderr, "\n") != 1 || stdout != "") {
				t.Errorf("a failure is one line on standard error, not %q and %q", stderr, stdout)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range []string{"serve", "dev", "pub", "sub", "config check", "config show", "cluster status", "cluster remove",
		"cluster rebalance", "cluster drain", "cluster undrain", "cluster transfer", "cluster replicas", "cluster verify", "cluster backup", "cluster restore", "cluster recover", "clients ls",
		"user add", "user passwd", "user list", "user remove", "acl show", "acl set", "acl remove", "acl check"} {
		code, stdout, _ := dunlin(t, "", append(strings.Fields(args), "--help")...)
		if code != 0 || !strings.Contains(stdout, "Examples:") {
			t.Errorf("%s --help: %d\n%s", args, code, stdout)
		}
	}
	_, stdout, _ := dunlin(t, "", "serve", "--help")
	for _, group := range []string{"Node:", "Listeners:", "Cluster:", "Runtime:", "Logging:", "--bootstrap-expect"} {
		if !strings.Contains(stdout, group) {
			t.Errorf("serve --help has no %s", group)
		}
	}
}

func TestConfigShow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "d.yaml")
	if err := os.WriteFile(file, []byte("gossip-key: MDEyMzQ1Njc4OWFiY2RlZg==\nlimits: {max-keepalive: 60s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DUNLIN_LOOPS", "3")
	_, stdout, _ := dunlin(t, "", "config", "show", "--config", file, "--node-name", "node-1", "-o", "yaml")
	for _, want := range []string{
		"- key: node-name\n  value: node-1\n  source: \"--node-name\"\n",
		"- key: loops\n  value: \"3\"\n  source: DUNLIN_LOOPS\n",
		"- key: limits.max-keepalive\n  value: \"1m\"\n  source: \"" + file + ":2\"\n",
		"- key: gossip-key\n  value: \"******\"\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "MDEy") {
		t.Error("the secret is shown")
	}
}
