package acl

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dunlin/node/auth"
	"dunlin/router"
)

func TestRights(t *testing.T) {
	policy, err := Read(strings.NewReader(`
rules:
  - {deny: all, users: [guest], topics: ["home/secret/#"]}
  - {allow: all, users: [admin], topics: ["#", "$SYS/#"]}
  - {allow: publish, topics: ["dev/${clientid}/up/#"]}
  - {allow: subscribe, topics: ["dev/${clientid}/#", "news/+"]}
  - {allow: subscribe, users: ["*"], topics: ["home/#"]}
  - {allow: publish, topics: ["plain"], qos: [0], retain: false}
  - {allow: all, clients: [gate], topics: ["gate-${clientid}/${username}"]}
  - {deny: all, topics: ["priv/${username}"]}
  - {allow: all, topics: ["priv/#"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client, user, what, topic string
		may                       bool
	}{
		{"d1", "", "pub", "dev/d1/up", true},
		{"d1", "", "pub", "dev/d1/down", false},
		{"d1", "", "sub", "dev/d1/down/#", true},
		{"d1", "", "sub", "dev/+/down", false},
		{"d1", "", "sub", "dev/#", false},
		{"d1", "", "sub", "news/+", true},
		{"d1", "", "sub", "news/#", false},
		{"d1", "", "sub", "home/x", false},
		{"d1", "u", "sub", "home/#", true},
		{"d1", "guest", "sub", "home/x", true},
		{"d1", "guest", "sub", "home/#", false}, // cuts into it (case 40)
		{"d1", "guest", "sub", "home/secret", false},
		{"d1", "guest", "get", "home/secret/x", false},
		{"d1", "admin", "sub", "#", true},
		{"d1", "admin", "pub", "$SYS/x", true},
		{"d1", "u", "sub", "$SYS/#", false},
		// A name can widen nothing (case 39).
		{"+", "", "sub", "dev/+/x", false},
		{"#", "", "sub", "dev/#", false},
		{"d1/up", "", "sub", "dev/d1/up/x", false},
		{"", "", "sub", "dev//x", false},
		{"gate", "u", "pub", "gate-gate/u", true},
		{"gate", "", "pub", "gate-gate/", false},
		{"gate", "$u", "pub", "gate-gate/$u", false},
		// It cannot slip out of a rule that denies either.
		{"d1", "u", "pub", "priv/u", false},
		{"d1", "u", "pub", "priv/v", true},
		{"d1", "a/b", "pub", "priv/v", false},
		{"d1", "u", "pub0", "plain", true},
		{"d1", "u", "pub", "plain", false},
		{"d1", "u", "retain0", "plain", false},
	} {
		s := NewSubject(c.client, c.user, "")
		r := policy.For(&s)
		var may bool
		switch c.what {
		case "pub":
			may = r.MayPublish(topic(t, c.topic), 1, false)
		case "pub0":
			may = r.MayPublish(topic(t, c.topic), 0, false)
		case "retain0":
			may = r.MayPublish(topic(t, c.topic), 0, true)
		case "sub":
			may = r.MaySubscribe(filter(t, c.topic), 1)
		case "get":
			may = r.MayReceive(topic(t, c.topic), 1)
		}
		if may != c.may {
			t.Errorf("client %q, user %q, %s %q: %v", c.client, c.user, c.what, c.topic, may)
		}
	}
}

func TestNothingIsAllowedByAccident(t *testing.T) {
	s := NewSubject("c", "u", "")
	empty, err := NewPolicy(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Rights{{}, empty.For(&s)} {
		if r.MayPublish(topic(t, "a"), 0, false) || r.MaySubscribe(filter(t, "a"), 0) || r.MayReceive(topic(t, "a"), 0) {
			t.Error("allowed")
		}
	}
}

// A file that is wrong is refused, and the error names what (case 45).
func TestRefusedFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":            "no rules",
		"rules: []":   "no rules",
		"rulez: []":   "rulez",
		"rules: [{}]": "rule 1: want one of allow and deny",
		`rules: [{allow: all, topics: [a]}, {allow: read, topics: [a]}]`: `rule 2: allow: "read" is not allowed: want publish, subscribe, or all`,
		`rules: [{allow: all}]`:                                                      "topics: 0 of them",
		`rules: [{allow: all, topics: ["a/#/b"]}]`:                                   `topics: "a/#/b" is not allowed`,
		`rules: [{allow: all, topics: ["a/${user}"]}]`:                               "unknown placeholder",
		`rules: [{allow: all, topics: ["${cert}${cert}"]}]`:                          "more than one placeholder",
		`rules: [{allow: all, topics: ["$share/g/a"]}]`:                              "leave $share",
		`rules: [{allow: all, topics: [a], users: ["*", bob]}]`:                      "leave the others out",
		`rules: [{allow: all, topics: [a], users: [""]}]`:                            "want a name",
		`rules: [{allow: all, topics: [a], groups: [""]}]`:                           "want a name",
		`rules: [{allow: all, topics: [a], qos: [3]}]`:                               "qos: 3 is not allowed",
		`rules: [{allow: all, topics: [a], retain: true}]`:                           "retain: a rule of all",
		"otherwise: no\nrules: [{allow: all, topics: [a]}]":                          "otherwise",
		"rules: [{allow: all, topics: [a]}]\n---\nrules: [{deny: all, topics: [a]}]": "follows the first document",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

var (
	names   = []string{"a", "b", "+", "x/y", "$a", "", "a#"}
	letters = []string{"a", "b", "c", "$a", ""}
	topics  = everyTopic(3)
)

func everyTopic(depth int) []string {
	all := letters
	last := letters
	for range depth - 1 {
		var next []string
		for _, t := range last {
			for _, l := range letters {
				next = append(next, t+"/"+l)
			}
		}
		all, last = append(all[:len(all):len(all)], next...), next
	}
	return all
}

// model decides as the package's comment says, word by word.
func model(rules []Rule, otherwise bool, a Action, t router.Topic, qos int, client, user string, groups []string) bool {
	for _, r := range rules {
		p, err := r.prepare()
		if err != nil {
			panic(err)
		}
		s := NewSubject(client, user, "", groups...)
		if p.action&a == 0 || p.qos&(1<<qos) == 0 || !p.of(&s) {
			continue
		}
		for _, text := range r.Topics {
			t, leads := t, strings.HasPrefix(text, "${")
			for v, name := range []string{client, user} {
				fit := name != "" && name[0] != '$' && !strings.ContainsAny(name, "+#/")
				if !strings.Contains(text, placeholders[v]) {
					continue
				}
				switch {
				case fit:
					text = strings.ReplaceAll(text, placeholders[v], name)
				case r.Allow != "":
					text = "none/of/the/topics"
				default:
					// Any text, $ in front included.
					text = strings.ReplaceAll(text, placeholders[v], "+")
					if leads && text[0] == '+' && t.String()[0] == '$' {
						t = topicOf("x" + t.String()[1:])
					}
				}
			}
			f, err := router.ParseFilter([]byte(text))
			if err != nil {
				panic(err)
			}
			if f.Matches(t) {
				return r.Allow != ""
			}
		}
	}
	return otherwise
}

// of says whether the rule speaks of s.
func (r *rule) of(s *Subject) bool {
	if len(r.clients) > 0 && !slices.Contains(r.clients, s.names[clientID]) {
		return false
	}
	if len(r.groups) > 0 && !slices.ContainsFunc(r.groups, func(g string) bool { return slices.Contains(s.groups, g) }) {
		return false
	}
	if len(r.users) == 0 {
		return true
	}
	user := s.names[userName]
	return user != "" && (r.users[0] == anyUser || slices.Contains(r.users, user))
}

func topicOf(s string) router.Topic {
	t, err := router.ParseTopic([]byte(s))
	if err != nil {
		panic(err)
	}
	return t
}

func randomPattern(rnd *rand.Rand, placeholder bool) string {
	var ls []string
	for range 1 + rnd.IntN(3) {
		pick := []string{"a", "b", "$a", "+", "+", "a"}
		if placeholder {
			pick = append(pick, placeholders[clientID], placeholders[userName])
		}
		ls = append(ls, pick[rnd.IntN(len(pick))])
	}
	if rnd.IntN(3) == 0 {
		ls[len(ls)-1] = "#"
	}
	return strings.Join(ls, "/")
}

func randomRules(rnd *rand.Rand) []Rule {
	var rules []Rule
	for range 1 + rnd.IntN(4) {
		var r Rule
		verb := []string{"publish", "subscribe", "all"}[rnd.IntN(3)]
		if rnd.IntN(2) == 0 {
			r.Allow = verb
		} else {
			r.Deny = verb
		}
		for range 1 + rnd.IntN(2) {
			r.Topics = append(r.Topics, randomPattern(rnd, true))
		}
		switch rnd.IntN(6) {
		case 0:
			r.Users = []string{"a", "a"}
		case 1:
			r.Users = []string{anyUser}
		case 2:
			r.Clients = []string{"a", "b", "a"}
		case 3:
			r.Users, r.Clients = []string{"b", "a"}, []string{"b"}
		}
		switch rnd.IntN(6) {
		case 0:
			r.Groups = []string{"b"}
		case 1:
			r.Groups = []string{"c", "a", "c"}
		}
		if rnd.IntN(4) == 0 {
			r.QoS = []int{rnd.IntN(3)}
		}
		rules = append(rules, r)
	}
	return rules
}

// Every answer for a topic is the model's, and whoever may subscribe to a filter
// may receive all that it matches.
func TestAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	granted := 0
	for round := range 1500 {
		rules, otherwise := randomRules(rnd), rnd.IntN(2) == 0
		policy, err := NewPolicy(rules, otherwise)
		if err != nil {
			t.Fatal(err)
		}
		client, user := names[rnd.IntN(len(names))], names[rnd.IntN(len(names))]
		groups := [][]string{nil, nil, {"a"}, {"b"}, {"a", "b", "d"}, {"x"}}[rnd.IntN(6)]
		s := NewSubject(client, user, "", groups...)
		rights := policy.For(&s)
		where := func() string {
			return fmt.Sprintf("round %d, client %q, user %q, groups %q, otherwise %v, rules %+v", round, client, user, groups, otherwise, rules)
		}
		qos := uint8(rnd.IntN(3))
		f := filter(t, randomPattern(rnd, false))
		maySubscribe := rights.MaySubscribe(f, qos)
		for _, text := range topics {
			if text == "" {
				continue
			}
			tp := topicOf(text)
			mayGet := rights.MayReceive(tp, qos)
			if want := model(rules, otherwise, Subscribe, tp, int(qos), client, user, groups); mayGet != want {
				t.Fatalf("receive %q: %v\n%s", text, mayGet, where())
			}
			mayPut := rights.MayPublish(tp, qos, false)
			if want := model(rules, otherwise, Publish, tp, int(qos), client, user, groups); mayPut != want {
				t.Fatalf("publish %q: %v\n%s", text, mayPut, where())
			}
			if maySubscribe && f.Matches(tp) && !mayGet {
				t.Fatalf("subscribed to %q, which %q may not be received of\n%s", f, text, where())
			}
		}
		if maySubscribe {
			granted++
		}
	}
	if granted < 150 {
		t.Errorf("only %d filters were granted: the test says little", granted)
	}
}

// With one rule that allows, a filter is granted exactly if all it matches is the
// rule's.
func TestFiltersExactly(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	s := NewSubject("a", "b", "")
	for range 1500 {
		rule := Rule{Allow: "subscribe", Topics: []string{randomPattern(rnd, true)}}
		policy, err := NewPolicy([]Rule{rule}, false)
		if err != nil {
			t.Fatal(err)
		}
		rights := policy.For(&s)
		f := filter(t, randomPattern(rnd, false))
		all := true
		for _, text := range deep {
			tp := topicOf(text)
			all = all && (!f.Matches(tp) || rights.MayReceive(tp, 0))
		}
		if got := rights.MaySubscribe(f, 0); got != all {
			t.Fatalf("rule %q, filter %q: %v", rule.Topics, f, got)
		}
	}
}

// deep are topics of up to four levels, one more than any filter has.
var deep = func() (ts []string) {
	for _, text := range everyTopic(4) {
		if text != "" {
			ts = append(ts, text)
		}
	}
	return ts
}()

func FuzzRead(f *testing.F) {
	f.Add([]byte("rules:\n  - {allow: all, topics: [\"a/${clientid}/#\"], users: [bob]}\n"))
	f.Add([]byte("otherwise: allow\nrules: [{deny: subscribe, topics: [\"$SYS/#\"], qos: [1, 2]}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		s := NewSubject("c", "bob", "")
		r := p.For(&s)
		for _, text := range []string{"a", "a/c", "$SYS/x"} {
			may := r.MayReceive(topicOf(text), 1)
			if may != r.MaySubscribe(filter(t, text), 1) {
				t.Errorf("%q: receive and subscribe differ", text)
			}
		}
	})
}

// FuzzRights has two rules with whatever patterns judge whoever and whatever topic, as the
// model does; and who may subscribe to a filter may receive all that it matches.
func FuzzRights(f *testing.F) {
	f.Add("dev/${clientid}/#", "dev/+/up", uint8(1), "d1", "u", "dev/+/x", "dev/d1/x")
	f.Add("${username}/a", "#", uint8(6), "c", "+", "#", "+/a")
	f.Add("+/a", "$SYS/#", uint8(8), "$c", "$SYS", "+/a", "$SYS/a")
	f.Add("a/${clientid}", "${clientid}/${username}", uint8(14), "x/y", "a#", "a/+", "a/x/y")
	f.Fuzz(func(t *testing.T, first, second string, verbs uint8, client, user, of, on string) {
		var rules []Rule
		for i, text := range []string{first, second} {
			r := Rule{Topics: []string{text}}
			verb := []string{"publish", "subscribe", "all"}[verbs>>(2*i)%3]
			if verbs>>(1+2*i)&1 != 0 {
				r.Allow = verb
			} else {
				r.Deny = verb
				for level := range strings.SplitSeq(text, "/") {
					if strings.Contains(level, "${") && !slices.Contains(placeholders[:], level) {
						return // the model knows placeholders of whole levels
					}
				}
			}
			rules = append(rules, r)
		}
		for _, name := range []string{client, user} { // as CONNECT has them, or it would have been refused
			if _, err := router.ParseTopic([]byte("x" + strings.Map(plain, name))); err != nil || len(name) > 100 || strings.Contains(name, "${") {
				return
			}
		}
		otherwise := verbs>>7 != 0
		policy, err := NewPolicy(rules, otherwise)
		tp, bad := router.ParseTopic([]byte(on))
		if err != nil || bad != nil || strings.Contains(first+second, "${cert") {
			return
		}
		s := NewSubject(client, user, "")
		rights := policy.For(&s)
		qos := verbs >> 5 % 3
		mayGet, mayPut := rights.MayReceive(tp, qos), rights.MayPublish(tp, qos, false)
		if want := model(rules, otherwise, Subscribe, tp, int(qos), client, user, nil); mayGet != want {
			t.Errorf("receive: %v, want %v", mayGet, want)
		}
		if want := model(rules, otherwise, Publish, tp, int(qos), client, user, nil); mayPut != want {
			t.Errorf("publish: %v, want %v", mayPut, want)
		}
		if fl, err := router.ParseFilter([]byte(of)); err == nil && fl.Group() == "" && fl.Matches(tp) && rights.MaySubscribe(fl, qos) && !mayGet {
			t.Errorf("may subscribe to %q, and not receive %q", of, on)
		}
	})
}

// plain leaves wildcards out, which names may have.
func plain(r rune) rune {
	if r == '+' || r == '#' {
		return 'x'
	}
	return r
}

func BenchmarkMayReceive(b *testing.B) {
	p, err := NewPolicy([]Rule{
		{Deny: "all", Topics: []string{"secret/#"}},
		{Allow: "publish", Topics: []string{"devices/${clientid}/up/#"}},
		{Allow: "subscribe", Topics: []string{"devices/${clientid}/#"}},
	}, false)
	if err != nil {
		b.Fatal(err)
	}
	guard := Guard{Policy: func() *Policy { return p }}
	id := &auth.Identity{ClientID: "device-17", Principal: auth.NewPrincipal("u")}
	tp := topicOf("devices/device-17/down/settings")
	b.ReportAllocs()
	for b.Loop() {
		if !guard.MayReceive(id, tp, 1) {
			b.Fatal("denied")
		}
	}
}

func topic(t *testing.T, s string) router.Topic {
	t.Helper()
	tp, err := router.ParseTopic([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

func filter(t *testing.T, s string) router.Filter {
	t.Helper()
	f, err := router.ParseFilter([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// deny-filters come on top of the rules, and the rules are those of the moment.
func TestGuard(t *testing.T) {
	denied, err := auth.NewDenied([]string{"never/#"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := NewPolicy(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	certified, err := NewPolicy([]Rule{{Allow: "all", Topics: []string{"dev/${cert}", "u/${username}/${clientid}"}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	now := all
	g := Guard{Denied: denied, Policy: func() *Policy { return now }}
	open := Guard{Policy: g.Policy}
	ann, gate := &auth.Identity{ClientID: "c", Principal: auth.NewPrincipal("ann")}, &auth.Identity{ClientID: "c", Principal: auth.NewCertified("gate")}
	nobody := &auth.Identity{ClientID: "c"}
	if g.Unrestricted() || !open.Unrestricted() {
		t.Error("who is unrestricted")
	}
	if !g.MayPublish(nobody, topic(t, "never/x"), 2, true) || g.MaySubscribe(nobody, filter(t, "never/+"), 0) ||
		!g.MaySubscribe(nobody, filter(t, "#"), 0) || g.MayReceive(nobody, topic(t, "never/x"), 0) {
		t.Error("without rules")
	}
	now = certified
	if open.Unrestricted() {
		t.Error("unrestricted with rules")
	}
	for _, c := range []struct {
		id    *auth.Identity
		topic string
		may   bool
	}{
		{gate, "dev/gate", true}, {ann, "dev/ann", false}, {ann, "dev/gate", false}, {nobody, "dev/", false},
		{gate, "u/gate/c", true}, {ann, "u/ann/c", true}, {ann, "u/gate/c", false}, {nobody, "u//c", false},
	} {
		if g.MayPublish(c.id, topic(t, c.topic), 0, false) != c.may || g.MayReceive(c.id, topic(t, c.topic), 0) != c.may ||
			g.MaySubscribe(c.id, filter(t, c.topic), 0) != c.may {
			t.Errorf("user %q, %q: want %v", c.id.User(), c.topic, c.may)
		}
	}
	member := &auth.Identity{ClientID: "c", Principal: auth.NewPrincipal("ann").With(auth.Extras{Groups: []string{"x", "ops"}})}
	now, err = NewPolicy([]Rule{{Allow: "all", Topics: []string{"ops/#"}, Groups: []string{"ops"}}}, false)
	if err != nil || !g.MayPublish(member, topic(t, "ops/x"), 0, false) || g.MayPublish(ann, topic(t, "ops/x"), 0, false) {
		t.Errorf("groups: %v", err)
	}
	now = certified
	tp := topic(t, "u/ann/c")
	if n := testing.AllocsPerRun(10, func() { g.MayReceive(ann, tp, 0) }); n > 0 {
		t.Errorf("%v allocations to ask", n)
	}
}

// The rules that a client brings along come before those for everybody, and after what is
// denied to all.
func TestOwnRulesComeFirst(t *testing.T) {
	denied, err := auth.NewDenied([]string{"never/#"})
	if err != nil {
		t.Fatal(err)
	}
	file, err := NewPolicy([]Rule{{Deny: "all", Topics: []string{"shut/#"}}, {Allow: "all", Topics: []string{"#"}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	own, err := NewOwn([]Rule{
		{Deny: "publish", Topics: []string{"mine/${username}/old"}},
		{Allow: "all", Topics: []string{"mine/${username}/#", "shut/${clientid}", "never/x"}},
		{Deny: "all", Topics: []string{"open", "cut/secret"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := Guard{Denied: denied, Policy: func() *Policy { return file }, Own: true}
	bare := &auth.Identity{ClientID: "c", Principal: auth.NewPrincipal("ann")}
	rich := &auth.Identity{ClientID: "c", Principal: bare.With(auth.Extras{Rights: own})}
	for _, c := range []struct {
		id            *auth.Identity
		topic         string
		publish, read bool
	}{
		{bare, "mine/ann/old", true, true}, {rich, "mine/ann/old", false, true},
		{bare, "shut/c", false, false}, {rich, "shut/c", true, true}, {rich, "shut/d", false, false},
		{bare, "open", true, true}, {rich, "open", false, false}, {rich, "other", true, true},
		{rich, "never/x", true, false},
	} {
		tp := topic(t, c.topic)
		if g.MayPublish(c.id, tp, 0, false) != c.publish || g.MayReceive(c.id, tp, 0) != c.read || g.MaySubscribe(c.id, filter(t, c.topic), 0) != c.read {
			t.Errorf("own rules %v, %s: want publish %v, read %v", c.id == rich, c.topic, c.publish, c.read)
		}
	}
	// What its own rules cut into is refused, though the others would allow it (case 40).
	if g.MaySubscribe(rich, filter(t, "cut/#"), 0) || !g.MaySubscribe(bare, filter(t, "cut/#"), 0) || !g.MaySubscribe(rich, filter(t, "other/#"), 0) {
		t.Error("filters")
	}
	everything, err := NewPolicy(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if (Guard{Policy: func() *Policy { return everything }, Own: true}).Unrestricted() {
		t.Error("nobody would ask a client's own rules")
	}
	tp := topic(t, "mine/ann/x")
	if n := testing.AllocsPerRun(10, func() { g.MayReceive(rich, tp, 0) }); n > 0 {
		t.Errorf("%v allocations to ask", n)
	}
}
