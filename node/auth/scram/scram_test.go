package scram

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	peer "github.com/xdg-go/scram"

	"dunlin/node/auth"
)

// The example of RFC 7677, section 3.
const (
	exampleFirst     = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	exampleNonce     = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	exampleChallenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	exampleFinal     = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	exampleSignature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func example(t testing.TB) Verifier {
	t.Helper()
	v, err := derive(SHA256, "pencil", decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestExampleOfTheStandard(t *testing.T) {
	v := example(t)
	for _, known := range []bool{true, false} {
		c := conversation{nonce: exampleNonce}
		if err := c.first([]byte(exampleFirst)); err != nil || c.user != "user" {
			t.Fatalf("user %q, %v", c.user, err)
		}
		if got := c.challenge(v, known); string(got) != exampleChallenge {
			t.Errorf("challenge %s", got)
		}
		signature, proved, err := c.final([]byte(exampleFinal))
		if err != nil || proved != known || known != (string(signature) == exampleSignature) {
			t.Errorf("known %v: proved %v, %s, %v", known, proved, signature, err)
		}
	}
}

// people are Users whose names are their passwords.
type people struct {
	verifiers map[string]Verifier
	shapes    Shapes
}

func newPeople(t testing.TB, m Mechanism, iterations int, names ...string) *people {
	t.Helper()
	p := &people{verifiers: map[string]Verifier{}}
	for _, name := range names {
		v, err := Derive(m, []byte(name), iterations)
		if err != nil {
			t.Fatal(err)
		}
		p.verifiers[name] = v
		p.shapes.Add(v)
	}
	return p
}

func (p *people) Find(m Mechanism, user string) (Verifier, *auth.Principal, bool) {
	v, ok := p.verifiers[user]
	return v, auth.NewPrincipal(user), ok && v.Mechanism() == m
}

func (p *people) Shape(m Mechanism, at uint64) Shape { return Pick(m, at, &p.shapes) }

// keep is a secret that stays.
func keep(secret string) func() string { return func() string { return secret } }

// A client of another maker gets in with the right password and no other, by both
// mechanisms, and finds that the server knows the user.
func TestAnotherMakersClient(t *testing.T) {
	names := []string{"ann", "a,b=c,=2C", "Zoë", "x y", "\u2168 \u00adsoft"} // the last ones are prepared: IX soft
	for m, hash := range map[Mechanism]peer.HashGeneratorFcn{SHA256: peer.SHA256, SHA512: peer.SHA512} {
		method := NewMethod(m, newPeople(t, m, MinIterations, names...), keep("secret"))
		for _, name := range append(names, "nobody") {
			for _, pass := range []string{name, name + "x"} {
				client, err := hash.NewClientUnprepped(name, pass, "")
				if pass == names[len(names)-1] {
					client, err = hash.NewClientUnprepped(name, "IX soft", "")
				}
				if err != nil {
					t.Fatal(err)
				}
				conv := client.NewConversation()
				said, err := conv.Step("")
				if err != nil {
					t.Fatal(err)
				}
				x := method.Begin(auth.Request{})
				reply, err := x.Step([]byte(said), nil)
				if err != nil || reply.Done {
					t.Fatalf("%v %q: %+v, %v", m, name, reply, err)
				}
				if said, err = conv.Step(string(reply.Data)); err != nil {
					t.Fatalf("%v %q: %s: %v", m, name, reply.Data, err)
				}
				reply, err = x.Step([]byte(said), nil)
				if pass != name || name == "nobody" {
					if !errors.Is(err, auth.ErrBadCredentials) || reply.Done || len(reply.Data) > 0 {
						t.Errorf("%v %q with password %q: %+v, %v", m, name, pass, reply, err)
					}
					continue
				}
				if err != nil || !reply.Done || reply.Who.User() != name {
					t.Fatalf("%v %q: %+v, %v", m, name, reply, err)
				}
				if _, err := conv.Step(string(reply.Data)); err != nil || !conv.Valid() {
					t.Errorf("%v %q: the client finds %v", m, name, err)
				}
			}
		}
	}
}

// What is wrong with a message ends the login, for all users alike.
func TestRefusedMessages(t *testing.T) {
	long := strings.Repeat("x", maxMessage)
	for _, c := range []struct {
		first string
		want  error
	}{
		{"", errMessage}, {"n", errMessage}, {"n,", errMessage}, {"n,,", errMessage}, {"n,,n=u", errMessage}, {"n,,n=u,", errMessage},
		{"n,,n=u,r=", errMessage}, {"n,,r=x,n=u", errMessage}, {"n,,n=,r=x", errMessage}, {"N,,n=u,r=x", errMessage}, {"n=1,,n=u,r=x", errMessage},
		{"n,b=u,n=u,r=x", errMessage}, {"n,a=,n=u,r=x", errMessage}, {"n,a=v,n=u,r=x", errActAs}, {"n,a=u=2,n=u,r=x", errMessage},
		{"p=tls-unique,,n=u,r=x", errBinding}, {"p=tls-exporter,,n=u,r=x", errBinding},
		{"n,,m=must,n=u,r=x", errExtension}, {"n,,n=u,r=x,m=must", errMessage},
		{"n,,n=u=,r=x", errMessage}, {"n,,n=u=2c,r=x", errMessage}, {"n,,n=u=41,r=x", errMessage},
		{"n,,n=u,r=x,", errMessage}, {"n,,n=u,r=x,e=", errMessage}, {"n,,n=u,r=x,1=y", errMessage}, {"n,,n=u,r=x,,e=y", errMessage},
		{"n,,n=u,r=x\x7f", errMessage}, {"n,,n=u,r=x y", errMessage}, {"n,,n=u\x00,r=x", errMessage}, {"n,,n=\xff,r=x", errMessage},
		{"n,,n=u,r=" + long[:maxNonce+1], errSize}, {"n,,n=" + long + ",r=x", errSize},
	} {
		if _, err := parseFirst(c.first); !errors.Is(err, c.want) {
			t.Errorf("first %.40q: %v, want %v", c.first, err, c.want)
		}
	}
	for _, s := range []string{"n,,n=u,r=x", "y,,n=u,r=x", "n,a=u,n=u,r=x", "n,,n=u,r=x,e=y,f==", "n,,n=u,r=" + long[:maxNonce]} {
		if f, err := parseFirst(s); err != nil || f.user != "u" || f.header+f.bare != s {
			t.Errorf("%.40q: %+v, %v", s, f, err)
		}
	}

	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	proof := exampleFinal[strings.LastIndex(exampleFinal, ",p="):]
	for _, c := range []struct {
		final string
		want  error
	}{
		{"", errMessage}, {"c=biws", errMessage}, {"c=biws,r=" + nonce, errMessage}, {"c=biws" + proof, errMessage}, {"r=" + nonce + ",c=biws" + proof, errMessage},
		{"c=eSws,r=" + nonce + proof, errAnother}, // of "y,,"
		{"c=biw=,r=" + nonce + proof, errAnother}, {"c=biws,r=" + nonce + "x" + proof, errAnother}, {"c=biws,r=" + nonce[:20] + proof, errAnother},
		{"c=biws,r=" + nonce + ",p=", errMessage}, {"c=biws,r=" + nonce + ",p=!!!!", errMessage}, {"c=biws,r=" + nonce + ",p=AAAA", errMessage},
		{"c=biws,r=" + nonce + proof + ",e=x", errMessage}, {"c=biws,r=" + nonce + proof + "\n", errMessage}, {"c=biws,r=" + nonce + "," + proof, errMessage},
		{exampleFinal + long, errSize},
	} {
		x := conversation{nonce: exampleNonce}
		if err := x.first([]byte(exampleFirst)); err != nil {
			t.Fatal(err)
		}
		x.challenge(example(t), true)
		if _, proved, err := x.final([]byte(c.final)); proved || !errors.Is(err, c.want) {
			t.Errorf("final %.80q: %v, want %v", c.final, err, c.want)
		}
	}
}

// The refusal of a message says so to the broker, and in words that hold nothing of it.
func TestRefusalsOfTheMethod(t *testing.T) {
	method := NewMethod(SHA256, newPeople(t, SHA256, MinIterations, "ann"), keep("secret"))
	x := method.Begin(auth.Request{})
	if _, err := x.Step([]byte("p=\x1b[31m,,n=ann,r=x"), nil); !errors.Is(err, auth.ErrRefused) || strings.Contains(err.Error(), "\x1b") {
		t.Error(err)
	}
	x = method.Begin(auth.Request{})
	if reply, err := x.Step(nil, nil); err != nil || reply.Done || len(reply.Data) > 0 { // the server may be asked to speak first
		t.Errorf("%+v, %v", reply, err)
	}
	if _, err := x.Step(nil, nil); !errors.Is(err, auth.ErrRefused) { // but has nothing more to say
		t.Error(err)
	}
	x = method.Begin(auth.Request{})
	if user, said := x.User(); user != "" || said {
		t.Errorf("it says that it is %q, %v", user, said)
	}
	if _, err := x.Step([]byte("n,,n=ann,r=x"), nil); err != nil {
		t.Fatal(err)
	}
	if user, said := x.User(); user != "ann" || !said {
		t.Errorf("it says that it is %q, %v", user, said)
	}
	if _, err := x.Step([]byte("c=biws"), nil); !errors.Is(err, auth.ErrRefused) {
		t.Error(err)
	}
	if x := NewMethod(SHA512, newPeople(t, SHA256, MinIterations, "ann"), keep("secret")).Begin(auth.Request{}); x != nil {
		t.Error("a mechanism is offered by which nobody can be let in")
	}
	for _, user := range []string{"ann", "nobody"} { // who is there is not told from who is not by having to wait for the secret
		x := NewMethod(SHA256, newPeople(t, SHA256, MinIterations, "ann"), keep("")).Begin(auth.Request{})
		if reply, err := x.Step([]byte("n,,n="+user+",r=x"), nil); !errors.Is(err, auth.ErrUnavailable) || len(reply.Data) > 0 {
			t.Errorf("%s without a secret: %+v, %v", user, reply, err)
		}
	}
}

// challengeOf is what a client is told that would be let in under a name.
func challengeOf(t *testing.T, m *Method, name string) (salt, iterations string) {
	t.Helper()
	reply, err := m.Begin(auth.Request{}).Step([]byte("n,,n="+name+",r=x"), nil)
	parts := strings.Split(string(reply.Data), ",")
	if err != nil || len(parts) != 3 {
		t.Fatalf("%s, %v", reply.Data, err)
	}
	return parts[1], parts[2]
}

// Case 44: a name that is not there cannot be told from one that is: its salt stays the
// same at all nodes, and it has the iterations of users.
func TestNamesThatAreNotThere(t *testing.T) {
	users := newPeople(t, SHA256, MinIterations, "ann", "bob")
	slow := newPeople(t, SHA256, 2*MinIterations, "eve")
	users.verifiers["eve"] = slow.verifiers["eve"]
	users.shapes.Add(slow.verifiers["eve"])
	users.verifiers["hashed"] = Verifier{mechanism: SHA512} // has none for this mechanism
	here, there := NewMethod(SHA256, users, keep("secret")), NewMethod(SHA256, users, keep("secret"))
	elsewhere := NewMethod(SHA256, users, keep("another"))
	counts, salts := map[string]int{}, map[string]bool{}
	const names = 300
	for i := range names {
		name := fmt.Sprint("nobody", i)
		if i == 0 {
			name = "hashed"
		}
		salt, n := challengeOf(t, here, name)
		if s2, n2 := challengeOf(t, there, name); s2 != salt || n2 != n {
			t.Errorf("%s: %s %s, then %s %s", name, salt, n, s2, n2)
		}
		if s2, _ := challengeOf(t, elsewhere, name); s2 == salt {
			t.Errorf("%s: the salt does not depend on the secret", name)
		}
		if real, _ := challengeOf(t, here, "ann"); len(real) != len(salt) {
			t.Errorf("%s: salt %s", name, salt)
		}
		counts[n]++
		salts[salt] = true
	}
	if len(salts) != names {
		t.Errorf("%d salts of %d names", len(salts), names)
	}
	if len(counts) != 2 || counts["i=4096"] < counts["i=8192"] || counts["i=8192"] < names/6 {
		t.Errorf("iterations %v", counts)
	}
}

// A proof made from a decoy's verifier, if that could be known, lets nobody in.
func TestDecoysLetNobodyIn(t *testing.T) {
	c := conversation{nonce: exampleNonce}
	if err := c.first([]byte(exampleFirst)); err != nil {
		t.Fatal(err)
	}
	c.challenge(example(t), false)
	if _, proved, err := c.final([]byte(exampleFinal)); proved || err != nil {
		t.Errorf("%v, %v", proved, err)
	}
}

func TestVerifiers(t *testing.T) {
	const text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if got := example(t).String(); got != text {
		t.Errorf("got %s", got)
	}
	if v, err := Parse(text); err != nil || v != example(t) {
		t.Errorf("%v, %v", v, err)
	}
	one, err := Derive(SHA512, []byte("pencil"), MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := Derive(SHA512, []byte("pencil"), MinIterations); err != nil || one == two {
		t.Errorf("the same salt twice, %v", err)
	}
	if again, err := Parse(one.String()); err != nil || again != one {
		t.Errorf("%v, %v", again, err)
	}
	for _, pass := range []string{"", "a\tb", "\xff", "\u00ad"} {
		if _, err := Derive(SHA256, []byte(pass), MinIterations); !errors.Is(err, ErrPassword) {
			t.Errorf("password %q: %v", pass, err)
		}
	}
	for _, n := range []int{0, MinIterations - 1, MaxIterations + 1} {
		if _, err := Derive(SHA256, []byte("pencil"), n); err == nil {
			t.Errorf("%d iterations were taken", n)
		}
	}
	for old, wrong := range map[string]string{
		"SCRAM-SHA-256": "SCRAM-SHA-1", "SHA-256$": "SHA-512$", "4096:": "4095:", "$4096": "$04096", "096:W": "096W", "$4096:": "$10000001:", "W22Z": "!22Z",
		"W22ZaJ0SNY7soEsUEjb6gQ==": "W22Z", "WG5d": "", "=:wf": "=wf", "2dU=": "2dU", "qY=:": "qY=:AAAA",
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in the verifier", old)
		}
		if _, err := Parse(strings.Replace(text, old, wrong, 1)); err == nil {
			t.Errorf("%q for %q: no error", wrong, old)
		}
	}
	if _, err := Parse(strings.Replace(text, "W22Z", "W22\n", 1)); err == nil {
		t.Error("a line feed was taken")
	}
	if s := (Verifier{}).String(); s != "" {
		t.Errorf("no verifier is %q", s)
	}
}

// Shapes come as often as they are there.
func TestShapes(t *testing.T) {
	var one, s Shapes // together
	if got := Pick(SHA256, 1<<63, &one, &s); got != (Shape{}) {
		t.Errorf("%v of none", got)
	}
	add := func(to *Shapes, iterations, salt, times int) {
		for range times {
			to.Add(newVerifier(SHA256, iterations, make([]byte, salt), make([]byte, 32), make([]byte, 32)))
		}
	}
	add(&one, 4096, 16, 1)
	add(&s, 5000, 16, 2)
	add(&s, 4096, 24, 4)
	add(&s, 5000, 8, 1)
	for at, want := range map[uint64]Shape{0: {4096, 16}, 1: {4096, 24}, 4: {4096, 24}, 5: {5000, 8}, 6: {5000, 16}, 7: {5000, 16}} {
		for _, edge := range []uint64{0, 1<<61 - 1} { // an eighth of all values each
			if got := Pick(SHA256, at<<61+edge, &one, &s); got != want {
				t.Errorf("%d eighths and %d: %v, want %v", at, edge, got, want)
			}
		}
	}
	if got := Pick(SHA512, 0, &one, &s); got != (Shape{}) {
		t.Errorf("%v of the other mechanism", got)
	}
	for i := range 2 * maxShapes {
		add(&s, 10_000+i, 16, 1)
	}
	if n := len(s.of[SHA256].counted); n != maxShapes {
		t.Errorf("%d shapes", n)
	}
	if got := Pick(SHA256, 1<<64-1, &s); got.Iterations < 10_000 {
		t.Errorf("the last is %v", got)
	}
}

// FuzzMessages has a server take two messages, of a user who is there or not. Nobody gets
// in but by the one proof.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(exampleFirst), []byte(exampleFinal))
	f.Add([]byte("y,a=a=2Cb,n=a=2Cb,r=x,e=1"), []byte("c=eSxhPWE9MkNiLA==,r=x,e=1,p=AAAA"))
	f.Add([]byte("p=tls-exporter,,n=user,r=x"), []byte("c=,r=,p="))
	f.Add([]byte("n,,m=1,n=user,r=x"), []byte(",,,"))
	v := example(f)
	f.Fuzz(func(t *testing.T, one, two []byte) {
		c := conversation{nonce: exampleNonce}
		kept := bytes.Clone(one)
		err := c.first(one)
		clear(one) // it was borrowed
		if err != nil {
			return
		}
		if c.header+c.bare != string(kept) || c.user == "" || len(c.clientFirst.nonce) > maxNonce {
			t.Errorf("%q: %+v", kept, c.clientFirst)
		}
		challenge := c.challenge(v, true)
		if len(challenge) > len(one)+len(exampleChallenge) || bytes.Count(challenge, []byte(",")) != 2 {
			t.Errorf("%q: %q", kept, challenge)
		}
		signature, proved, err := c.final(two)
		if proved != (signature != nil) || proved && (err != nil || !bytes.Contains(two, []byte(c.clientFirst.nonce+c.nonce))) {
			t.Errorf("%q, %q: %s, %v", kept, two, signature, err)
		}
		if proved && (string(kept) != exampleFirst || string(two) != exampleFinal) {
			t.Errorf("%q, %q: let in", kept, two)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(example(f).String())
	f.Add("SCRAM-SHA-512$4096:c2FsdHNhbHQ=$:")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := Parse(s); err == nil && v.String() != s {
			t.Errorf("%q: %v", s, v)
		}
	})
}

func BenchmarkLogin(b *testing.B) {
	v := example(b)
	for b.Loop() {
		c := conversation{nonce: exampleNonce}
		_ = c.first([]byte(exampleFirst))
		c.challenge(v, true)
		if _, proved, _ := c.final([]byte(exampleFinal)); !proved {
			b.Fatal("not let in")
		}
	}
}
