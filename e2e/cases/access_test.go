package cases

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// change puts rules before those of guarded in force, on all nodes.
func (p *place) change(t *testing.T, more string) {
	t.Helper()
	p.epoch++
	p.write(t, "rules.yaml", rules(p.epoch, more))
	for k, n := range p.nodes {
		n.Hangup()
		d := p.door(k).as("probe")
		c := d.ephemeral(t, fmt.Sprint("probe-", k))
		harness.Eventually(t, "the rules in force", func() error {
			if r := c.SubscribeAll(mqtt.Subscription{Filter: fmt.Append(nil, "epoch/", p.epoch)})[0]; r != mqtt.Success {
				return fmt.Errorf("SUBACK %v", r)
			}
			return nil
		})
		c.Disconnect()
	}
}

// put publishes with QoS 1 and returns the answer.
func put(c *harness.Client, m mqtt.Publish) mqtt.Reason {
	m.QoS, m.PacketID = 1, c.NextID()
	c.Send(&m)
	return c.ExpectAck(mqtt.PUBACK, m.PacketID)
}

// ask subscribes to one filter and returns the answer.
func ask(c *harness.Client, filter string) mqtt.Reason {
	return c.SubscribeAll(mqtt.Subscription{Filter: []byte(filter), QoS: 1})[0]
}

// deniedAlias: an alias that came with a denied topic is judged each time that it is used.
func deniedAlias(t *testing.T, p *place) { // case 18
	sub, pub := p.again.as("ann").ephemeral(t, "alias-sub"), p.pub.as("bob").ephemeral(t, "alias-pub")
	if r := ask(sub, "no/#"); r != mqtt.GrantedQoS1 {
		t.Fatalf("SUBACK %v", r)
	}
	send := func(topic string, want mqtt.Reason) {
		t.Helper()
		if r := put(pub, mqtt.Publish{Topic: []byte(topic), TopicAlias: 1}); r != want {
			t.Errorf("%q: PUBACK %v", topic, r)
		}
	}
	send("no/x", mqtt.NotAuthorized)
	for range 3 {
		send("", mqtt.NotAuthorized)
	}
	sub.ExpectQuiet()
	p.change(t, `  - {allow: publish, users: [bob], topics: ["no/x"]}`)
	send("", mqtt.Success)
	sub.ExpectMessage("no/x", "")
	p.change(t, "")
	send("", mqtt.NotAuthorized)
	sub.ExpectQuiet()
}

// anothersSession: who comes with the client identifier of another user is refused; neither
// the session nor its client is touched.
func anothersSession(t *testing.T, p *place) { // case 38
	const id = "hers"
	ann := p.sub.as("ann").connect(t, mqtt.Connect{ClientID: []byte(id), CleanStart: true, SessionExpiry: 3600})
	ann.Subscribe("open/hers", 1)
	steal := func() {
		t.Helper()
		for _, clean := range []bool{true, false} {
			for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
				c := p.pub.as("bob").try(t, mqtt.Connect{Version: version, ClientID: []byte(id), CleanStart: clean, SessionExpiry: 60})
				if r := c.Connack.Reason; r != mqtt.NotAuthorized || c.Connack.SessionPresent {
					t.Errorf("version %v, clean start %v: CONNACK %v", version, clean, r)
				}
				c.ExpectClosed()
			}
		}
	}
	steal()
	ann.ExpectQuiet()
	ann.Disconnect()
	p.pub.as("bob").ephemeral(t, "hers-pub").Publish("open/hers", "waits", 1)
	steal()
	ann = p.again.as("ann").connect(t, mqtt.Connect{ClientID: []byte(id), SessionExpiry: 3600})
	if !ann.Connack.SessionPresent {
		t.Error("the session is gone")
	}
	ann.ExpectMessage("open/hers", "waits")
	ann.Disconnect()
	p.sub.as("ann").forget(t, id)
}

// patterns: what a client calls itself stands for itself, and is no pattern, path, label or
// line.
func patterns(t *testing.T, p *place) { // case 39
	victim := p.again.as("eve").ephemeral(t, "victim")
	if r := ask(victim, "dev/victim/x"); r != mqtt.GrantedQoS1 {
		t.Fatalf("SUBACK %v", r)
	}
	// A user may be called anything that a line of a file can be. Client identifiers are those
	// of the same names and some more.
	for _, name := range append(users[5:], "#", "a\nb", "[a-z]+", "victim/x/..", "../../etc/passwd", "\x1b[31m", "%2e%2e", `label"} 7`, strings.Repeat("long", 16_000)) {
		user := "ann"
		if slices.Contains(users, name) {
			user = name
		}
		c := p.sub.as(user).try(t, mqtt.Connect{ClientID: []byte(name), CleanStart: true})
		if c.Connack.Reason == mqtt.ClientIDNotValid {
			continue
		}
		if c.Connack.Reason != mqtt.Success {
			t.Errorf("%.40q: CONNACK %v", name, c.Connack.Reason)
			continue
		}
		for _, filter := range []string{"dev/+/x", "dev/victim/x", "dev/#", "u/+/x", "u/eve/x", "#"} {
			if r := ask(c, filter); r != mqtt.NotAuthorized {
				t.Errorf("%.40q subscribes to %s: %v", name, filter, r)
			}
		}
		for _, topic := range []string{"dev/victim/x", "u/eve/x"} {
			if r := put(c, mqtt.Publish{Topic: []byte(topic)}); r != mqtt.NotAuthorized {
				t.Errorf("%.40q publishes to %s: %v", name, topic, r)
			}
		}
		if user == name && strings.ContainsAny(name, "+#/$") { // nor does it slip out of what is denied to it
			if r := ask(c, "private/eve"); r != mqtt.NotAuthorized {
				t.Errorf("%.40q reads what may be its own: %v", name, r)
			}
		}
		if len(name) < 100 {
			if got := p.sub.node.API(http.MethodGet, "/api/v1/clients/"+url.PathEscape(name)); !strings.Contains(got, "client_id") {
				t.Errorf("%q is not found by the API: %s", name, got)
			}
		}
		if metrics := p.sub.node.API(http.MethodGet, "/metrics"); strings.Contains(metrics, name) && len(name) > 3 {
			t.Errorf("a metric has %q", name)
		}
		c.Disconnect()
	}
	victim.ExpectQuiet()
	for line := range strings.Lines(p.log()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of the log is another's: %q", line)
		}
	}
}

// wide: a filter is granted only if all that it matches is.
func wide(t *testing.T, p *place) { // case 40
	for version, no := range map[mqtt.Version]mqtt.Reason{mqtt.V311: mqtt.Unspecified, mqtt.V5: mqtt.NotAuthorized} {
		sub := p.sub.as("ann").connect(t, mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte("wide")})
		for filter, want := range map[string]mqtt.Reason{
			"#": no, "+/x": no, "$share/g/#": no, "home/#": no, "$share/g/home/+/x": no, "home/safe": no, "+/+": no, "$SYS/#": no, "$SYS/+": no,
			"home/x": 1, "$share/g/home/y": 1, "open/#": 1, "$share/g/open/#": 1,
		} {
			if got := ask(sub, filter); got != want {
				t.Errorf("version %v, %s: SUBACK %v", version, filter, got)
			}
		}
		eve := p.pub.as("eve").ephemeral(t, "wide-pub")
		for _, topic := range []string{"home/safe", "home/safe/x", "other"} {
			eve.Publish(topic, "secret", 1)
		}
		eve.Publish("home/x", "mine", 1)
		sub.ExpectMessage("home/x", "mine")
		sub.ExpectQuiet()
		sub.Disconnect()
		// What was granted is judged again for each message.
		sub = p.sub.as("ann").connect(t, mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte("wide")})
		ask(sub, "open/#")
		p.change(t, `  - {deny: subscribe, users: [ann], topics: ["open/secret/#"]}`)
		eve.Publish("open/secret/x", "secret", 1)
		eve.Publish("open/x", "mine", 1)
		sub.ExpectMessage("open/x", "mine")
		sub.ExpectQuiet()
		p.change(t, "")
		sub.Disconnect()
		eve.Disconnect()
	}
}

// reserved: nobody publishes to what is the server's.
func reserved(t *testing.T, p *place) { // case 41
	sub := p.sub.ephemeral(t, "reserved-sub")
	for _, topic := range []string{"$SYS/broker/evil", "$SYS", "$x/y", "$share/g/t"} {
		sub.SubscribeAll(mqtt.Subscription{Filter: []byte(topic), QoS: 2})
		before := p.pub.node.Metrics()["dunlin_publishes_denied_total"]
		c := p.pub.ephemeral(t, "reserved")
		if r := put(c, mqtt.Publish{Topic: []byte(topic), Retain: true}); r != mqtt.NotAuthorized {
			t.Errorf("%s: PUBACK %v", topic, r)
		}
		c.Send(&mqtt.Publish{Topic: []byte(topic), QoS: 2, PacketID: 9})
		if r := c.ExpectAck(mqtt.PUBREC, 9); r != mqtt.NotAuthorized {
			t.Errorf("%s: PUBREC %v", topic, r)
		}
		old := p.pub.connect(t, mqtt.Connect{Version: mqtt.V311, CleanStart: true})
		for q := range mqtt.QoS(3) {
			old.Publish(topic, "x", q) // acknowledged, and dropped
		}
		harness.Eventually(t, "all are counted", func() error {
			if n := p.pub.node.Metrics()["dunlin_publishes_denied_total"] - before; n != 5 {
				return fmt.Errorf("%s: %v", topic, n)
			}
			return nil
		})
	}
	sub.ExpectQuiet()
}

// wills: a will is judged when it is left, and again when it fires.
func wills(t *testing.T, p *place) { // case 42
	const no, bad = mqtt.NotAuthorized, mqtt.TopicNameInvalid
	for topic, want := range map[string]mqtt.Reason{"no/will": no, "other": no, "$SYS/x": no, "open/#": bad, "+": bad, "open/will": mqtt.Success} {
		for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			c := p.sub.as("ann")
			conn := c.dial(t)
			hello := c.complete(mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte("will"), HasWill: true, Will: mqtt.Will{Topic: []byte(topic)}})
			conn.Version = version
			conn.Send(&hello)
			answer, err := conn.Next()
			switch {
			case want == bad && version == mqtt.V311: // which has no code for it
				if err == nil {
					t.Errorf("%s: %s", topic, harness.Describe(answer))
				}
			case err != nil || answer.Connack.Reason != want:
				t.Errorf("version %v, %s: %v, %+v", version, topic, err, answer)
			case want != mqtt.Success:
				conn.ExpectClosed()
			default:
				conn.Disconnect()
			}
		}
	}
	heir := p.again.as("eve").ephemeral(t, "heir")
	if r := ask(heir, "open/#"); r != 1 {
		t.Fatalf("SUBACK %v", r)
	}
	leave := func(id, topic string) *harness.Client {
		t.Helper()
		return p.sub.as("ann").connect(t, mqtt.Connect{ClientID: []byte(id), CleanStart: true, HasWill: true,
			Will: mqtt.Will{Topic: []byte(topic), Payload: []byte(id), QoS: 1}})
	}
	lost, kept := leave("lost", "open/lost"), leave("kept", "open/kept")
	p.change(t, `  - {deny: publish, users: [ann], topics: ["open/lost"]}`)
	lost.Drop()
	kept.Drop()
	heir.ExpectMessage("open/kept", "kept")
	harness.Eventually(t, "no will is under way", func() error {
		for _, n := range p.nodes {
			if m := n.Metrics(); m["dunlin_wills_under_way"] > 0 || m["dunlin_store_sessions"] > 3 {
				return fmt.Errorf("%s: %v wills, %v sessions", n.Name, m["dunlin_wills_under_way"], m["dunlin_store_sessions"])
			}
		}
		return nil
	})
	heir.ExpectQuiet()
	p.change(t, "")
}

// withdrawn: rights end at once, on whatever way a message comes, and the session is kept.
func withdrawn(t *testing.T, p *place) { // case 43
	const all = `  - {allow: all, topics: ["mine/#"]}`
	p.change(t, all)
	hello := mqtt.Connect{ClientID: []byte("withdrawn"), SessionExpiry: 3600, ReceiveMaximum: 1}
	ann, eve := p.sub.as("ann").connect(t, hello), p.pub.as("eve").ephemeral(t, "withdrawn-pub")
	if r := ask(ann, "mine/#"); r != 1 {
		t.Fatalf("SUBACK %v", r)
	}
	for _, payload := range []string{"in flight", "queued", "queued too"} {
		eve.Publish("mine/x", payload, 1)
	}
	eve.PublishPacket(mqtt.Publish{Topic: []byte("mine/r"), Payload: []byte("retained"), QoS: 1, Retain: true})
	first := ann.Expect(mqtt.PUBLISH)
	p.change(t, `  - {deny: all, users: [ann], topics: ["mine/#"]}`+"\n"+all)
	ann.Acknowledge(&first.Publish) // makes room for what is queued
	ann.ExpectQuiet()
	if put(ann, mqtt.Publish{Topic: []byte("mine/x")}) != mqtt.NotAuthorized || ask(ann, "mine/r") != mqtt.NotAuthorized {
		t.Error("she may still")
	}
	eve.Publish("mine/x", "live", 1)
	ann.ExpectQuiet()

	p.change(t, all)
	eve.Publish("mine/x", "in flight again", 1)
	ann.Expect(mqtt.PUBLISH)
	ann.Drop()
	p.change(t, `  - {deny: all, users: [ann], topics: ["mine/#"]}`+"\n"+all)
	ann = p.again.as("ann").connect(t, hello)
	if !ann.Connack.SessionPresent {
		t.Error("the session is gone")
	}
	ann.ExpectQuiet() // nothing is resent
	p.change(t, all)
	eve.Publish("mine/x", "given back", 1)
	if m := ann.Receive(); string(m.Payload) != "given back" {
		t.Errorf("got %q", m.Payload)
	}
	retain(eve, "mine/r", "")
	ann.Expect(mqtt.PUBLISH) // which is told, as a message without a payload
	ann.Disconnect()
	p.sub.as("ann").forget(t, "withdrawn")
	p.change(t, "")
}

// wrongPasswords: a wrong password and a user who is not there have the same answer, after
// the same work. Who goes on has to wait, and nobody else.
func wrongPasswords(t *testing.T, p *place) { // case 44
	from := fmt.Sprint("127.66.44.", 1+len(p.via))
	login := func(from, user, pass string, version mqtt.Version) mqtt.Reason {
		t.Helper()
		c := p.sub.behind(from).try(t, mqtt.Connect{Version: version, CleanStart: true, HasUsername: true, Username: []byte(user), HasPassword: true, Password: []byte(pass)})
		if c.Connack.Reason != mqtt.Success {
			c.ExpectClosed()
		}
		c.Drop()
		return c.Connack.Reason
	}
	for _, user := range []string{"ann", "nobody"} {
		before := p.sub.node.Metrics()["dunlin_passwords_total"]
		for k := range 5 {
			if r := login(from, user, "wrong", []mqtt.Version{mqtt.V5, mqtt.V311}[k%2]); r != mqtt.BadUsernameOrPassword {
				t.Errorf("%s: %v", user, r)
			}
		}
		harness.Eventually(t, "each is checked", func() error {
			if n := p.sub.node.Metrics()["dunlin_passwords_total"] - before; n != 5 {
				return fmt.Errorf("%s: %v", user, n)
			}
			return nil
		})
	}
	for k := 0; login(from, "ann", "wrong", mqtt.V5) != mqtt.ConnectionRateExceeded; k++ { // each wrong one doubles the wait
		if k == 10 {
			t.Fatal("nobody has to wait")
		}
	}
	if r := login("127.66.44.99", "ann", "secret", mqtt.V5); r != mqtt.Success {
		t.Errorf("from elsewhere: %v", r)
	}
	if r := login(from, "bob", "secret", mqtt.V5); r != mqtt.Success {
		t.Errorf("another user: %v", r)
	}
}

// passwordStorm: hundreds of wrong passwords at once are refused, and the right user gets
// in from elsewhere meanwhile.
func passwordStorm(t *testing.T, p *place) { // case 44
	const storm, at = 400, 32
	var bad, often, other atomic.Int64
	var all sync.WaitGroup
	from := p.sub.behind(fmt.Sprint("127.66.44.", 101+len(p.via)))
	for range at {
		all.Go(func() {
			w := &witness{TB: t}
			err := w.do(func() {
				for k := range storm / at {
					c, why, closed := from.attempt(w, mqtt.Connect{HasUsername: true, Username: fmt.Append(nil, "who", k%5), HasPassword: true, Password: []byte("wrong")})
					switch {
					case !closed && why == mqtt.BadUsernameOrPassword:
						bad.Add(1)
					case !closed && why == mqtt.ConnectionRateExceeded:
						often.Add(1)
					default:
						other.Add(1)
					}
					if c != nil {
						c.Drop()
					}
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	if _, why, _ := p.sub.behind("127.66.44.98").as("ann").attempt(t, mqtt.Connect{}); why != mqtt.Success {
		t.Errorf("the right password from elsewhere: %v", why)
	}
	all.Wait()
	if bad.Load() == 0 || often.Load() < storm/2 || other.Load() > 0 {
		t.Errorf("%d told that it is wrong, %d that it is too often, %d something else", bad.Load(), often.Load(), other.Load())
	}
}

// badFiles: a node does not start with files of users or rules that are empty or wrong, and one that
// runs keeps what it has.
func badFiles(t *testing.T, p *place) { // case 45
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ key, path string }{
		{"auth: {users-file", file("empty", "")}, {"auth: {users-file", file("nonsense", "bob\n")}, {"auth: {users-file", filepath.Join(dir, "missing")}, {"auth: {users-file", dir},
		{"acl: {file", file("none", "")}, {"acl: {file", file("list", "- x\n")}, {"acl: {file", filepath.Join(dir, "missing")}, {"acl: {file", dir},
	} {
		config := file("dunlin.yaml", fmt.Sprintf("data-dir: %s/data\nmqtt-addr: 127.66.45.1:1883\nhttp-addr: \"\"\ngossip-addr: 127.66.45.1:7946\n"+
			"cluster-addr: 127.66.45.1:7947\n%s: %s}\n", dir, c.key, c.path))
		if code, _, errs := harness.Dunlin(t, "serve", "--config", config); code == 0 || !strings.Contains(errs, strings.ReplaceAll(c.key, ": {", ".")) {
			t.Errorf("%s %s: exit code %d: %s", c.key, c.path, code, errs)
		}
	}
	told := func(what string) int { return strings.Count(p.log(), what+" not reloaded") }
	strangers := 0
	still := func(after string) {
		t.Helper()
		c := p.sub.as("ann").ephemeral(t, "still")
		if put(c, mqtt.Publish{Topic: []byte("open/x")}) >= mqtt.Unspecified || put(c, mqtt.Publish{Topic: []byte("no/x")}) != mqtt.NotAuthorized {
			t.Errorf("after %s the rules are others", after)
		}
		c.Disconnect()
		strangers++
		if r := p.sub.behind(fmt.Sprint("127.66.45.", strangers)).as("stranger").try(t, mqtt.Connect{CleanStart: true}).Connack.Reason; r != mqtt.BadUsernameOrPassword {
			t.Errorf("after %s: CONNACK %v", after, r)
		}
	}
	for _, c := range []struct{ name, what, text string }{
		{"users", "users", ""}, {"users", "users", password("stranger") + "nonsense\n"}, {"rules.yaml", "rules", "rules: nonsense"}, {"rules.yaml", "rules", ""},
		{"users", "users", "missing"}, {"rules.yaml", "rules", "missing"},
	} {
		good := usersFile()
		if c.what == "rules" {
			good = rules(p.epoch, "")
		}
		before := told(c.what)
		if path := p.write(t, c.name, c.text); c.text == "missing" {
			os.Remove(path)
		}
		p.sub.node.Hangup()
		harness.Eventually(t, "the bad file is told of", func() error {
			if told(c.what) == before {
				return errors.New("it is not")
			}
			return nil
		})
		still(fmt.Sprintf("%s %q", c.name, c.text))
		p.write(t, c.name, good)
		p.change(t, "")
	}
}

// openToAll: a listener beyond loopback does not open until somebody is asked who he is,
// or all are meant.
func openToAll(t *testing.T, p *place) { // case 46
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := fmt.Sprintf("data-dir: %s/data\nhttp-addr: \"\"\ngossip-addr: 127.66.46.1:7946\ncluster-addr: 127.66.46.1:7947\n%s", dir, p.listenerConfig())
	for _, via := range listeners {
		key := map[way]string{tcp: "mqtt-addr", overTLS: "mqtts-addr", webSocket: "ws-addr", secureWS: "wss-addr"}[via]
		switch via {
		case p.via:
			config += key + ": 0.0.0.0:20046\n"
		case tcp:
			config += key + ": \"\"\n"
		}
	}
	code, _, errs := harness.Dunlin(t, "serve", "--config", file("nobody.yaml", config))
	if code == 0 || !strings.Contains(errs, "allow-anonymous") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	for name, more := range map[string]string{"said.yaml": "allow-anonymous: true\n", "asked.yaml": "auth: {users-file: " + file("users", usersFile()) + "}\n"} {
		if code, _, errs := harness.Dunlin(t, "config", "check", "--config", file(name, config+more)); code != 0 {
			t.Errorf("%s: exit code %d: %s", more, code, errs)
		}
	}
}
