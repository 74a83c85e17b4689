package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var (
	rounds = flag.Int("access.rounds", 20, "rounds of the matrix")
	seed   = flag.Uint64("access.seed", 0, "seed of the matrix; 0: one by the clock")
)

func TestMain(m *testing.M) { harness.Main(m) }

// What clients are called, what the rules speak of, and what is published and asked for.
// Some names look like patterns, levels, or placeholders (case 39).
var (
	identities = []identity{
		{"dev1", "ann", ""}, {"dev2", "bob", ""}, {"+", "ann", ""}, {"#", "bob", ""}, {"a/b", "+", ""}, {"$SYS", "eve", ""},
		{"anon", "", ""}, {"dev1/#", "", ""}, {"x${username}", "ann", ""}, {"dev3", "x${clientid}", ""},
		{"c1", "gate", "gate"}, {"c2", "x/y", "x/y"}, {"c3", "$z", "$z"},
	}
	userNames   = []string{"ann", "bob", "+", "eve", "gate", "x/y", "x${clientid}", "*"}
	clientNames = []string{"dev1", "dev2", "+", "#", "a/b", "anon", "c1"}
	patterns    = []string{
		"#", "+/#", "a", "a/b", "a/+", "a/#", "+", "+/b", "+/+", "/a", "/#", "a/", "a//b", "dev/#", "dev/+",
		"dev/${clientid}", "dev/${clientid}", "dev/${clientid}/#", "u/${username}", "u/${username}", "u/${username}/+",
		"c/${cert}", "c/${cert}", "c/${cert}", "x-${clientid}-y", "${clientid}/a", "${username}", "$SYS/#", "$SYS/broker/version", "$x/${clientid}", "hidden/#",
	}
	everyTopic = []string{
		"a", "a/b", "a//b", "/a", "a/", "b", "a/b/c", "dev/dev1", "dev/dev2", "dev/a/b", "dev/dev1/x", "dev/x${username}", "dev/xann",
		"dev/${clientid}", "dev/", "u/ann", "u/bob", "u/ann/x", "u/", "u/eve", "u/gate", "u/x${clientid}", "c/gate", "c/x/y", "c/", "x-dev1-y", "x-a", "dev1/a",
		"ann", "dev/$SYS", "hidden/x", "hidden", "$SYS/x", "$x/dev1", "$SYS",
	}
	wildcards = []string{
		"#", "+", "+/+", "+/#", "a/#", "a/+", "+/b", "/#", "/+", "dev/#", "dev/+", "dev/+/x", "u/#", "u/+", "c/+", "+/a", "$SYS/#", "$SYS/+/version",
		"$SYS/broker/version", "$x/+", "hidden/+", "hidden/#",
	}
	words = []string{"zz", "", "a", "b", "dev", "dev1", "dev2", "u", "ann", "c", "gate", "x", "hidden"}
)

// world is the cluster, its rules and its clients.
type world struct {
	*mathrand.Rand
	t       *testing.T
	cluster *harness.Cluster
	pairs   map[string]tls.Certificate // of clients, by name
	path    string                     // of the rules
	epoch   int
	now     rules
	before  rules             // those of the epoch before
	canary  []*harness.Client // one at each node

	people   []*person // with a session
	observer *person   // may do everything, and is told of everything
	messages map[string]*message
	retained map[string]*message
	toGroups []string                // filters of this round's
	groups   map[role]map[string]int // payloads that are owed to a group or came to it; how often they did
	optional map[string]bool         // payloads that a group need not be given
	seen     map[string]int
}

// TestMatrix compares what clients of a cluster of three may do with the model, on every
// way that a message takes: live, queued, in flight and resent, retained, as a will, and
// through share groups of both kinds, from node to node, while rights are withdrawn and
// given; and what the API says that they may. In each round people with identities of all kinds connect, leave wills, subscribe
// and publish under some rules; then the rules change, and what waits, is retained or is
// still to fire is held to the new ones.
//
// It was seen to fail with each of these planted:
//   - not judged: what had waited for acknowledgements (which was so), what is resent, what
//     a shard pushes, retained messages, those of share groups, a publish by an alias, a will
//     at CONNECT, a will when it fires;
//   - a member of a share group that may not have a message ends it for the others;
//   - names: + is a wildcard, a slash makes two levels, a name that is unfit slips out of a
//     rule that denies;
//   - a filter is granted of which a part is allowed; the QoS of what is received, the retain
//     flag of what is published count for nothing;
//   - the API, asked what the rules let somebody do, leaves acl.deny-filters or the name in a
//     certificate out.
func TestMatrix(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-access.seed %d", *seed)
	w := newWorld(t, *seed)
	for k := range *rounds {
		if w.round(); t.Failed() {
			t.Fatalf("in round %d; rules: %s", k+1, w.text())
		}
	}
	t.Logf("%v", w.seen)
	for _, what := range []string{"delivered", "filters granted", "filters refused", "publishes refused", "resumed", "wills fired", "wills denied", "shared", "retained", "by alias", "withdrawn", "asked by the API"} {
		if w.seen[what] == 0 && *rounds >= 10 {
			t.Errorf("nothing was %s: the test has not tested that", what)
		}
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, Rand: mathrand.New(mathrand.NewPCG(seed, 0)), path: filepath.Join(t.TempDir(), "rules.yaml"), pairs: make(map[string]tls.Certificate),
		messages: make(map[string]*message), retained: make(map[string]*message), seen: make(map[string]int),
	}
	dir := t.TempDir()
	var users strings.Builder
	for _, name := range append([]string{"probe", "canary"}, userNames...) {
		fmt.Fprintf(&users, "%s:$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ==\n", name)
	}
	w.write(filepath.Join(dir, "users"), []byte(users.String()))
	w.certify(dir)
	w.draw()
	w.write(w.path, w.text())
	w.cluster = harness.Start(t, harness.Options{Nodes: 3, TLS: true, Config: fmt.Sprintf(`
auth: {users-file: %[1]s/users, certificate: common-name}
allow-anonymous: true
acl: {file: %[2]s, deny-filters: ["%[3]s"]}
tls: {cert: %[1]s/ca.pem, key: %[1]s/ca.key, client-ca: %[1]s/ca.pem, client-auth: request}
`, dir, w.path, hidden)})
	for _, n := range w.cluster.Nodes {
		w.canary = append(w.canary, harness.Connect(t, n.MQTT, mqtt.Connect{CleanStart: true, ClientID: []byte("canary-" + n.Name),
			HasUsername: true, Username: []byte("canary"), HasPassword: true, Password: []byte("secret")}))
	}
	w.observer = w.person(identity{"observer", "probe", ""}, live)
	w.observer.version, w.observer.qos = mqtt.V5, 2
	w.observer.connect(true, nil)
	w.observer.subscribe([]string{"#"})
	return w
}

// certify makes the node's certificate and those of clients.
func (w *world) certify(dir string) {
	w.t.Helper()
	var authority *x509.Certificate
	var authorityKey *ecdsa.PrivateKey
	for i, name := range []string{"ca", "gate", "x/y", "$z"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		w.must(err)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name}, IsCA: i == 0, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		}
		if i == 0 {
			authority, authorityKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, authorityKey)
		w.must(err)
		if i > 0 {
			w.pairs[name] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
			continue
		}
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		w.must(err)
		w.write(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		w.write(filepath.Join(dir, "ca.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	}
}

// draw makes up rules. Those in front are for the test's own clients.
func (w *world) draw() {
	w.epoch++
	w.before, w.now = w.now, rules{Otherwise: []string{"deny", "allow"}[w.IntN(2)], Rules: []rule{
		{Allow: "all", Users: []string{"probe"}, Topics: []string{"#"}},
		{Allow: subscribe, Users: []string{"canary"}, Topics: []string{w.canaryTopic()}},
		{Deny: "all", Users: []string{"canary"}, Topics: []string{"#"}},
	}}
	for range 1 + w.IntN(6) {
		r := rule{Topics: pick(w.Rand, patterns, 1+w.IntN(3))}
		verb := []string{publish, subscribe, "all"}[w.IntN(3)]
		if w.IntN(5) < 3 {
			r.Allow = verb
		} else {
			r.Deny = verb
		}
		if w.IntN(4) == 0 {
			if r.Users = pick(w.Rand, userNames, 1+w.IntN(2)); slices.Contains(r.Users, "*") {
				r.Users = []string{"*"}
			}
		}
		if w.IntN(4) == 0 {
			r.Clients = pick(w.Rand, clientNames, 1+w.IntN(2))
		}
		if w.IntN(4) == 0 {
			r.QoS = pick(w.Rand, []int{0, 1, 2}, 1+w.IntN(2))
		}
		if verb == publish && w.IntN(4) == 0 {
			retain := w.IntN(2) == 0
			r.Retain = &retain
		}
		w.now.Rules = append(w.now.Rules, r)
	}
	if w.IntN(2) == 0 {
		w.now.Rules = append(w.now.Rules, rule{Allow: []string{publish, subscribe, "all"}[w.IntN(3)], Topics: []string{"#"}})
	}
}

func (w *world) canaryTopic() string { return fmt.Sprintf("canary/%d", w.epoch) }

func (w *world) text() []byte {
	b, err := json.MarshalIndent(w.now, "", " ") // which is YAML
	w.must(err)
	return b
}

// change puts other rules in force, everywhere.
func (w *world) change() {
	w.t.Helper()
	w.draw()
	w.write(w.path+".new", w.text())
	w.must(os.Rename(w.path+".new", w.path))
	for _, n := range w.cluster.Nodes {
		n.Hangup()
	}
	for _, c := range w.canary {
		harness.Eventually(w.t, "the rules in force", func() error {
			if r := c.SubscribeAll(mqtt.Subscription{Filter: []byte(w.canaryTopic())})[0]; r != 0 {
				return fmt.Errorf("SUBACK %v", r)
			}
			return nil
		})
	}
}

func (w *world) round() {
	w.t.Helper()
	w.groups, w.optional = map[role]map[string]int{member: {}, worker: {}}, make(map[string]bool)
	w.people = []*person{w.observer}
	w.change()
	common := make(map[role][]string) // filter of a group
	qos := make(map[role]mqtt.QoS)
	for _, r := range []role{member, worker} {
		qos[r] = mqtt.QoS(1 + w.IntN(2))
		common[r] = []string{w.commonFilter(qos[r])}
	}
	w.toGroups = append(common[member], common[worker]...)
	for _, as := range pick(w.Rand, identities, len(identities)) {
		p := w.person(as, role(w.IntN(int(roles))))
		var will *message
		if p.role == live {
			will = w.message(as)
		}
		if p.role.shares() {
			p.qos = qos[p.role]
		}
		p.connect(true, will)
		w.people = append(w.people, p)
		filters := common[p.role]
		if !p.role.shares() {
			filters = append(pick(w.Rand, everyTopic, 3), pick(w.Rand, wildcards, 3)...)
		}
		p.subscribe(filters)
	}
	w.settle()
	for _, p := range w.people {
		if p.role == offline {
			p.conn.Disconnect()
			p.conn = nil
		}
	}
	w.publishSome(25)
	w.settle()

	w.change()
	w.askAPI(20)
	for _, p := range w.people {
		for _, m := range p.waiting {
			if q := int(min(m.qos, p.qos)); w.before.mayReceive(p.as, m.topic, q) && !w.now.mayReceive(p.as, m.topic, q) {
				w.count("withdrawn")
			}
		}
		p.goOn()
	}
	w.settle()
	w.fireWills()
	w.publishSome(25)
	for _, p := range w.people {
		if p != w.observer && p.conn != nil && !p.role.shares() && p.role != stuck {
			p.subscribe(pick(w.Rand, append(wildcards, everyTopic...), 4))
		}
	}
	w.settle()
	w.end()
}

func (w *world) person(as identity, r role) *person {
	p := &person{
		w: w, as: as, role: r, version: []mqtt.Version{mqtt.V311, mqtt.V5, mqtt.V5}[w.IntN(3)], node: w.someNode(), qos: mqtt.QoS(w.IntN(3)),
		got: make(map[string]int), owed: make(map[string]bool),
	}
	if r.stalls() || r == offline {
		p.qos = max(p.qos, 1)
	}
	return p
}

func (w *world) someNode() *harness.Node { return w.cluster.Nodes[w.IntN(len(w.cluster.Nodes))] }

// message makes one up for somebody to publish; now and then its topic has a name of his.
func (w *world) message(as identity) *message {
	m := &message{payload: fmt.Sprintf("m%d", len(w.messages)), topic: everyTopic[w.IntN(len(everyTopic))], qos: mqtt.QoS(w.IntN(3))}
	if own := []string{"dev/" + as.client, "u/" + as.user, "c/" + as.cert}[w.IntN(3)]; w.IntN(4) == 0 && !strings.ContainsAny(own, "+#") {
		m.topic = own
	}
	m.retain = m.qos > 0 && w.IntN(3) == 0
	w.messages[m.payload] = m
	return m
}

func (w *world) publishSome(n int) {
	w.t.Helper()
	for range n {
		p := w.people[w.IntN(len(w.people))]
		if p.conn == nil {
			continue
		}
		m := w.message(p.as)
		if topics := slices.Sorted(maps.Keys(p.aliases)); len(topics) > 0 && w.IntN(3) == 0 {
			m.topic = topics[w.IntN(len(topics))]
		}
		if f := w.toGroups[w.IntN(len(w.toGroups))]; !strings.ContainsAny(f, "+#") && w.IntN(4) == 0 {
			m.topic = f
		}
		p.publish(m)
	}
}

// commonFilter is a filter that several identities may subscribe to, if there is one.
func (w *world) commonFilter(qos mqtt.QoS) string {
	all := pick(w.Rand, append(wildcards, everyTopic...), len(wildcards)+len(everyTopic))
	for _, f := range all {
		granted := 0
		for _, as := range identities {
			if w.now.mustGrant(as, f, int(qos)) > 0 {
				granted++
			}
		}
		if granted > len(identities)/3 {
			return f
		}
	}
	return all[0]
}

// expect notes who is to be told of a message.
func (w *world) expect(m *message) {
	m.epoch = w.epoch
	if !m.allowed {
		return
	}
	if m.retain {
		w.retained[m.topic] = m
	}
	members := make(map[role]int)
	candidates := make(map[role]int)
	for _, p := range w.people {
		if !p.isSubscribed(m.topic) {
			continue
		}
		if !p.role.shares() {
			p.owe(m, min(m.qos, p.qos))
			continue
		}
		members[p.role]++
		if w.now.mayReceive(p.as, m.topic, int(min(m.qos, p.qos))) {
			candidates[p.role]++
		}
	}
	for r, n := range members {
		w.groups[r][m.payload] = 0
		// A queue gives a message to one, and does not try another if that one may not
		// have it.
		if m.qos == 0 || candidates[r] == 0 || r == worker && candidates[r] < n {
			w.optional[m.payload+roleNames[r]] = true
		}
	}
}

// shared notes that a member of a group was given a message.
func (w *world) shared(p *person, payload string) {
	w.count("shared")
	if w.groups[p.role][payload]++; w.groups[p.role][payload] > 1 {
		w.t.Errorf("%v: has %q, which another member has had", p, payload)
	}
}

// mayHave says whether a client may be told of what it was told of just now. What was
// published with QoS 0 before the rules changed may have been on its way between nodes
// then, which nobody is told the end of, and was judged by those.
func (w *world) mayHave(as identity, topic string, pub *mqtt.Publish) bool {
	if w.now.mayReceive(as, topic, int(pub.QoS)) {
		return true
	}
	m := w.messages[string(pub.Payload)]
	return m != nil && m.qos == 0 && m.epoch == w.epoch-1 && w.before.mayReceive(as, topic, int(pub.QoS))
}

// retainedFor are the retained messages that filters match.
func (w *world) retainedFor(filters []string) (ms []*message) {
	for _, m := range w.retained {
		if matchesAny(filters, m.topic) {
			ms = append(ms, m)
		}
	}
	return ms
}

// settle waits until all have what is owed to them, and what else was on its way to them.
func (w *world) settle() {
	w.t.Helper()
	harness.Eventually(w.t, "everybody has what is owed", func() error {
		for _, p := range w.people {
			p.pump()
		}
		for _, p := range w.people {
			if p.isBehind() {
				return fmt.Errorf("%v is sent nothing", p)
			}
			for payload := range p.owed {
				return fmt.Errorf("%v: %v has not come; it has subscribed to %q with QoS %d; rules: %s", p, w.messages[payload], p.filters, p.qos, w.text())
			}
		}
		for r, ms := range w.groups {
			for payload, n := range ms {
				if n == 0 && !w.optional[payload+roleNames[r]] {
					return fmt.Errorf("no %s has %v; rules: %s", roleNames[r], w.messages[payload], w.text())
				}
			}
		}
		return nil
	})
	for _, p := range w.people {
		if p.conn != nil {
			p.conn.SendBytes(mqtt.AppendPingreq(nil))
			p.answer(mqtt.PINGRESP, 0)
		}
	}
}

// fireWills has those with wills vanish.
func (w *world) fireWills() {
	w.t.Helper()
	for _, p := range slices.Clone(w.people) {
		if p.will == nil {
			continue
		}
		p.conn.Drop()
		w.people = slices.DeleteFunc(w.people, func(q *person) bool { return p == q })
		p.will.allowed = w.now.mayLeave(p.as, p.will.topic, int(p.will.qos), p.will.retain)
		w.expect(p.will)
		if p.will.allowed {
			w.count("wills fired")
		} else {
			w.count("wills denied")
		}
		w.settle() // one after the other, for what is retained
	}
}

// end ends the round's sessions.
func (w *world) end() {
	w.t.Helper()
	for _, p := range w.people {
		if p == w.observer {
			continue
		}
		p.conn.Disconnect()
		if p.role.keeps() {
			p.role, p.version = live, mqtt.V5
			p.connect(true, nil)
			p.conn.Disconnect()
		}
	}
}

func (w *world) count(what string) { w.seen[what]++ }

func (w *world) write(path string, b []byte) {
	w.t.Helper()
	w.must(os.WriteFile(path, b, 0o600))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
