package access

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// A node with users has a hasher, goes on when somebody ends it, and takes it along when it is
// killed itself (case 44).
func TestHasher(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	const ann = "ann:$argon2id$v=19$m=19456,t=2,p=1$hO4JMeJmYnlZGPJjVFE6mg$He/9TAkjI130uT2BCgjUHnYZCh8d2RWPJGr+wD2FF7A\n"
	if err := os.WriteFile(users, []byte(ann), 0o600); err != nil {
		t.Fatal(err)
	}
	n := harness.Start(t, harness.Options{Config: "auth: {users-file: " + users + "}\n"}).Nodes[0]
	login := func(pass string) mqtt.Reason {
		t.Helper()
		c := harness.TryConnect(t, n.MQTT, mqtt.Connect{Version: mqtt.V5, CleanStart: true,
			HasUsername: true, Username: []byte("ann"), HasPassword: true, Password: []byte(pass)})
		defer c.Drop()
		return c.Connack.Reason
	}
	logins := func() {
		t.Helper()
		if r := login("wrong"); r != mqtt.BadUsernameOrPassword {
			t.Errorf("with a wrong password: %v", r)
		}
		if r := login("load"); r != mqtt.Success {
			t.Errorf("with the right one: %v", r)
		}
	}
	first := hashers(t, n.Pid())
	if len(first) != 1 {
		t.Fatalf("hashers %v", first)
	}
	logins()
	if err := syscall.Kill(first[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	logins()
	harness.Eventually(t, "another, of which there may be one in ten seconds", func() error {
		login("wrong")
		if now := hashers(t, n.Pid()); len(now) != 1 || now[0] == first[0] {
			return fmt.Errorf("hashers %v, at first %v", now, first)
		}
		return nil
	})
	second := hashers(t, n.Pid())[0]
	n.Kill()
	harness.Eventually(t, "its end", func() error {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", second)); err == nil && len(line) > 0 {
			return fmt.Errorf("it runs: %q", line)
		}
		return nil
	})
}

// hashers are the process ids of a node's.
func hashers(t *testing.T, node int) (ids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", node))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // a thread may have ended
		for _, child := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if !strings.Contains(string(line), "hash-passwords") {
				continue
			}
			var id int
			if _, err := fmt.Sscan(child, &id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
	}
	return ids
}
