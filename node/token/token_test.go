package token

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var now = time.Unix(1_000_000, 0)

func TestNewAndFind(t *testing.T) {
	var all []Token
	var secrets []string
	for i, s := range []Scope{Read, Operate, Admin} {
		secret, tok, err := New(fmt.Sprint("t", i), s, now, now.Add(time.Duration(i)*time.Hour+time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(tok.Encode(), secret) || strings.Contains(tok.Encode(), strings.TrimPrefix(secret, prefix)) {
			t.Error("the secret is kept")
		}
		back, err := Decode(tok.Name, tok.Encode())
		if err != nil || back != tok {
			t.Errorf("%+v, %v", back, err)
		}
		all, secrets = append(all, tok), append(secrets, secret)
	}
	for i, s := range secrets {
		if got, ok := Find(all, s, now); !ok || got.Name != all[i].Name {
			t.Errorf("%d: %+v", i, got)
		}
		for j := range len(s) { // not one character may be another
			other := s[:j] + string(s[j]^1) + s[j+1:]
			if _, ok := Find(all, other, now); ok {
				t.Fatalf("%q is taken for %q", other, s)
			}
		}
		hash, _ := all[i].Hash.MarshalText()
		if _, ok := Find(all, string(hash), now); ok {
			t.Error("a hash is taken for its token")
		}
	}
	if _, ok := Find(all, "", now); ok {
		t.Error("nothing is a token")
	}
	if _, ok := Find(nil, secrets[0], now); ok {
		t.Error("found among none")
	}
	if _, ok := Find(all, secrets[0], now.Add(time.Minute)); ok {
		t.Error("an expired token is good")
	}
	if _, ok := Find(all, secrets[1], now.Add(time.Minute)); !ok {
		t.Error("expired too early")
	}
	for _, bad := range []func() error{
		func() error { _, _, err := New("", Read, now, time.Time{}); return err },
		func() error { _, _, err := New("a/b", Read, now, time.Time{}); return err },
		func() error { _, _, err := New("a", 0, now, time.Time{}); return err },
		func() error { _, _, err := New("a", 4, now, time.Time{}); return err },
		func() error { _, _, err := New("a", Read, now, now); return err },
		func() error { _, err := Decode("other", all[0].Encode()); return err },
		func() error { _, err := Decode("a", `{"name":"a","scope":"root"}`); return err },
		func() error { _, err := Decode("a", `{"name":"a","scope":"admin"}`); return err },
	} {
		if bad() == nil {
			t.Error("taken")
		}
	}
}

func TestScopes(t *testing.T) {
	for i, have := range []Scope{0, Read, Operate, Admin, 4} {
		for j, need := range []Scope{Read, Operate, Admin} {
			if want := have <= Admin && i >= j+1; have.Includes(need) != want {
				t.Errorf("%v includes %v: %v", have, need, !want)
			}
		}
	}
}

func TestFile(t *testing.T) {
	secret := strings.Repeat("x", 43)
	h := HashOf(secret)
	digits := hex.EncodeToString(h[:])
	all, err := ReadFile(strings.NewReader("# tokens\n\nops:operate:" + secret + "\r\nci:read:sha256=" + strings.Repeat("ab", 32) + "\n"))
	if err != nil || len(all) != 2 || all[0] != (Token{Name: "ops", Scope: Operate, Hash: h}) || all[1].Scope != Read {
		t.Errorf("%+v, %v", all, err)
	}
	for _, text := range []string{secret, secret + "\n", "sha256=" + digits} {
		all, err = ReadFile(strings.NewReader(text))
		if err != nil || len(all) != 1 || all[0] != (Token{Name: FileName, Scope: Admin, Hash: h}) {
			t.Errorf("%+v, %v", all, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "comment": "# none\n", "short": "hush", "short line": "a:read:hush", "scope": "a:root:" + secret, "name": "a b:read:" + secret,
		"fields": "a:" + secret, "space": strings.Repeat("hush ", 10), "hash": "sha256=" + digits[1:], "twice": "a:read:" + secret + "\nb:read:" + secret,
		"name twice": "a:read:" + secret + "\na:read:" + secret + "y", "long": strings.Repeat("#", 65<<10), "huge": strings.Repeat("x", 300),
	} {
		if _, err := ReadFile(strings.NewReader(text)); err == nil || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "xxx") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailures(t *testing.T) {
	var f Failures
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range mostFailures {
		if f.Blocked(a, now) > 0 {
			t.Fatalf("blocked after %d", i)
		}
		f.Failed(a, now)
	}
	if d := f.Blocked(a, now); d != failureWindow {
		t.Errorf("blocked for %v", d)
	}
	if f.Blocked(b, now) > 0 || f.Blocked(netip.MustParseAddr("::ffff:192.0.2.1"), now) == 0 {
		t.Error("the wrong address is blocked")
	}
	if later := now.Add(failureWindow); f.Blocked(a, later) > 0 {
		t.Error("still blocked")
	} else if f.Failed(a, later); f.Blocked(a, later) > 0 {
		t.Error("blocked after one failure in a new minute")
	}
	// One host of version 6 has very many addresses.
	for i := range mostFailures {
		f.Failed(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)), now)
	}
	if f.Blocked(netip.MustParseAddr("2001:db8::ffff"), now) == 0 {
		t.Error("another address of the same host is not blocked")
	}
	for i := range 2 * mostAddresses {
		f.Failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(f.of) > mostAddresses {
		t.Errorf("%d addresses are remembered", len(f.of))
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add("ops:operate:" + strings.Repeat("x", 43))
	f.Add("sha256=" + strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadFile(strings.NewReader(text))
		if (err == nil) != (len(all) > 0) {
			t.Errorf("%v, %v", all, err)
		}
		for _, tok := range all {
			if _, err := Decode(tok.Name, tok.Encode()); err != nil && tok.Hash != (Hash{}) {
				t.Error(err)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	all := make([]Token, 1000)
	for b.Loop() {
		Find(all, "dunlin_nobody", now)
	}
}
