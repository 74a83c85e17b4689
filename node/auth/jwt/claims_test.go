package jwt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/router"
)

// judge has claims judged as those of a token whose signature is good.
func judge(t testing.TB, c Claims, said any, user string) (*auth.Principal, Outcome) {
	t.Helper()
	b, isRaw := said.([]byte)
	if !isRaw {
		var err error
		if b, err = json.Marshal(said); err != nil {
			t.Fatal(err)
		}
	}
	if c.User == "" {
		c.User = "sub"
	}
	all, ok := parse(b)
	if !ok {
		return nil, Malformed
	}
	return c.judge(all, user, start)
}

// A token is good in its time alone, which it has to name; leeway is for clocks.
func TestTimes(t *testing.T) {
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	for name, c := range map[string]struct {
		change  object
		without Outcome // leeway
		with    Outcome // a minute of it
	}{
		"good":                     {nil, Good, Good},
		"all three":                {object{"nbf": at(0), "iat": at(-time.Hour)}, Good, Good},
		"a fraction":               {object{"exp": float64(at(1)) + 0.5}, Good, Good},
		"no end":                   {object{"exp": nil}, Expired, Expired},
		"the end now":              {object{"exp": at(0)}, Expired, Good},
		"just over":                {object{"exp": at(-59 * time.Second)}, Expired, Good},
		"over":                     {object{"exp": at(-time.Minute)}, Expired, Expired},
		"the end as text":          {object{"exp": fmt.Sprint(at(time.Hour))}, Expired, Expired},
		"the end a list":           {object{"exp": []int64{at(time.Hour)}}, Expired, Expired},
		"the end true":             {object{"exp": true}, Expired, Expired},
		"the end before all":       {object{"exp": -1}, Expired, Expired},
		"the end beyond all":       {object{"exp": 1e300}, Expired, Expired},
		"the end in milliseconds":  {object{"exp": 1000 * at(time.Hour)}, Expired, Expired},
		"not yet":                  {object{"nbf": at(time.Minute)}, Early, Good},
		"not for long":             {object{"nbf": at(61 * time.Second)}, Early, Early},
		"from a text on":           {object{"nbf": "0"}, Early, Early},
		"issued in the future":     {object{"iat": at(time.Hour)}, Early, Early},
		"issued a moment from now": {object{"iat": at(time.Second)}, Early, Good},
	} {
		for leeway, want := range map[time.Duration]Outcome{0: c.without, time.Minute: c.with} {
			who, o := judge(t, Claims{Leeway: leeway}, claims(c.change), "")
			if o != want {
				t.Errorf("%s, leeway %v: %v, want %v", name, leeway, o, want)
			}
			if name == "good" && !who.Expires().Equal(start.Add(time.Hour+leeway)) {
				t.Errorf("good until %v", who.Expires())
			}
		}
	}
}

func TestClaims(t *testing.T) {
	nested := object{"realm_access": object{"roles": []string{"mqtt", "x"}}, "https://example.com/tier": "gold", "a.b": true, "n": 7}
	merge := func(more object) object {
		all := claims(more)
		for name, v := range nested {
			all[name] = v
		}
		return all
	}
	for name, c := range map[string]struct {
		rule Claims
		said any
		user string // of CONNECT
		want Outcome
		who  string
	}{
		"any issuer":                  {Claims{}, claims(object{"iss": "x"}), "", Good, "ann"},
		"the issuer":                  {Claims{Issuer: "x"}, claims(object{"iss": "x"}), "", Good, "ann"},
		"another issuer":              {Claims{Issuer: "x"}, claims(object{"iss": "x/"}), "", WrongIssuer, ""},
		"no issuer":                   {Claims{Issuer: "x"}, claims(nil), "", WrongIssuer, ""},
		"issuers":                     {Claims{Issuer: "x"}, claims(object{"iss": []string{"x"}}), "", WrongIssuer, ""},
		"the audience":                {Claims{Audience: []string{"m", "n"}}, claims(object{"aud": "n"}), "", Good, "ann"},
		"one of the audiences":        {Claims{Audience: []string{"m", "n"}}, claims(object{"aud": []string{"a", "m"}}), "", Good, "ann"},
		"another audience":            {Claims{Audience: []string{"m"}}, claims(object{"aud": []string{"mm", ""}}), "", WrongAudience, ""},
		"no audience":                 {Claims{Audience: []string{"m"}}, claims(nil), "", WrongAudience, ""},
		"an object as audience":       {Claims{Audience: []string{"m"}}, claims(object{"aud": object{"m": "m"}}), "", WrongAudience, ""},
		"required, there":             {Claims{Required: []string{"n"}}, merge(nil), "", Good, "ann"},
		"required, not there":         {Claims{Required: []string{"n", "m"}}, merge(nil), "", BadClaims, ""},
		"required, null":              {Claims{Required: []string{"m"}}, []byte(`{"sub":"ann","exp":1900000000,"m":null}`), "", BadClaims, ""},
		"required value, number":      {Claims{Required: []string{"n=7"}}, merge(nil), "", Good, "ann"},
		"required value, another":     {Claims{Required: []string{"n=8"}}, merge(nil), "", BadClaims, ""},
		"required value, within":      {Claims{Required: []string{"realm_access.roles=mqtt"}}, merge(nil), "", Good, "ann"},
		"required value, not within":  {Claims{Required: []string{"realm_access.roles=admin"}}, merge(nil), "", BadClaims, ""},
		"required value, not deep":    {Claims{Required: []string{"sub.roles=admin"}}, merge(nil), "", BadClaims, ""},
		"required, dots in its name":  {Claims{Required: []string{"https://example.com/tier=gold", "a.b=true"}}, merge(nil), "", Good, "ann"},
		"another claim is the user":   {Claims{User: "email"}, claims(object{"email": "a@example.com"}), "", Good, "a@example.com"},
		"the claim is not there":      {Claims{User: "email"}, claims(nil), "", BadUser, ""},
		"the user is empty":           {Claims{}, claims(object{"sub": ""}), "", BadUser, ""},
		"the user is a number":        {Claims{}, claims(object{"sub": 7}), "", BadUser, ""},
		"the user has a line's end":   {Claims{}, claims(object{"sub": "a\nb"}), "", BadUser, ""},
		"the user has a NUL":          {Claims{}, claims(object{"sub": "a\x00"}), "", BadUser, ""},
		"the user is long":            {Claims{}, claims(object{"sub": strings.Repeat("x", maxUser+1)}), "", BadUser, ""},
		"another user name":           {Claims{}, claims(nil), "bob", Good, "ann"},
		"another, where it matters":   {Claims{SameUser: true}, claims(nil), "bob", BadUser, ""},
		"none, where it matters":      {Claims{SameUser: true}, claims(nil), "", BadUser, ""},
		"the same, where it matters":  {Claims{SameUser: true}, claims(nil), "ann", Good, "ann"},
		"no object":                   {Claims{}, []byte(`["ann"]`), "", Malformed, ""},
		"null":                        {Claims{}, []byte(`null`), "", Malformed, ""},
		"something said twice":        {Claims{}, []byte(`{"sub":"ann","exp":1900000000,"sub":"admin"}`), "", Malformed, ""},
		"not UTF-8":                   {Claims{}, []byte("{\"sub\":\"ann\xff\",\"exp\":1900000000}"), "", Malformed, ""},
		"another case":                {Claims{}, []byte(`{"Sub":"admin","EXP":1900000000}`), "", Expired, ""},
		"something behind the object": {Claims{}, []byte(`{"sub":"ann","exp":1900000000}{}`), "", Malformed, ""},
	} {
		who, o := judge(t, c.rule, c.said, c.user)
		if o != c.want || who.User() != c.who {
			t.Errorf("%s: %q, %v; want %q, %v", name, who.User(), o, c.who, c.want)
		}
	}
}

// Rights and groups are understood whole, or refuse who claims them.
func TestRightsAndGroups(t *testing.T) {
	rule := object{"allow": "publish", "topics": []string{"own/${username}"}}
	rules := func(n int) (all []any) {
		for range n {
			all = append(all, rule)
		}
		return all
	}
	names := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("g", i))
		}
		return all
	}
	for name, c := range map[string]struct {
		acl, groups any
		want        Outcome
		rights      bool
		in          []string
	}{
		"neither":                     {nil, nil, Good, false, nil},
		"no rules":                    {[]any{}, nil, Good, false, nil},
		"a rule":                      {rules(1), nil, Good, true, nil},
		"the most rules":              {rules(maxRights), nil, Good, true, nil},
		"more rules":                  {rules(maxRights + 1), nil, BadRights, false, nil},
		"long rules":                  {[]any{object{"allow": "all", "topics": []string{strings.Repeat("x/", maxRightsBytes/2)}}}, nil, BadRights, false, nil},
		"not a list":                  {rule, nil, BadRights, false, nil},
		"a text":                      {"allow all", nil, BadRights, false, nil},
		"a rule that is none":         {[]any{7}, nil, BadRights, false, nil},
		"a rule of nothing":           {[]any{object{}}, nil, BadRights, false, nil},
		"a rule that is null":         {[]any{nil}, nil, BadRights, false, nil},
		"an unknown word":             {[]any{object{"allow": "all", "topics": []string{"#"}, "unless": "x"}}, nil, BadRights, false, nil},
		"another case":                {[]any{object{"allow": "all", "topics": []string{"#"}, "QoS": []int{0}}}, nil, BadRights, false, nil},
		"a topic that is none":        {[]any{rule, object{"deny": "all", "topics": []string{"a/#/b"}}}, nil, BadRights, false, nil},
		"a group":                     {nil, "ops", Good, false, []string{"ops"}},
		"groups in a text":            {nil, " b a  b ", Good, false, []string{"a", "b"}},
		"groups":                      {nil, []string{"b", "a b", "b"}, Good, false, []string{"a b", "b"}},
		"the most groups":             {nil, names(maxGroups), Good, false, slices.Sorted(slices.Values(names(maxGroups)))},
		"more groups":                 {nil, names(maxGroups + 1), BadRights, false, nil},
		"a group without a name":      {nil, []string{""}, BadRights, false, nil},
		"a group that is none":        {nil, []any{"a", 7}, BadRights, false, nil},
		"a group that is null":        {nil, []any{"a", nil}, BadRights, false, nil},
		"groups that are none":        {nil, object{"a": "b"}, BadRights, false, nil},
		"groups of a number":          {nil, 7, BadRights, false, nil},
		"rights and groups, together": {rules(1), "a", Good, true, []string{"a"}},
	} {
		who, o := judge(t, Claims{Rights: "acl", Groups: "deep.groups"}, claims(object{"acl": c.acl, "deep": object{"groups": c.groups}}), "")
		if o != c.want || (who.Rights() != nil) != c.rights || !slices.Equal(who.Groups(), c.in) {
			t.Errorf("%s: %v, rights %v, groups %.80q; want %v, %v, %.80q", name, o, who.Rights(), who.Groups(), c.want, c.rights, c.in)
		}
		if who, o := judge(t, Claims{}, claims(object{"acl": c.acl, "deep": object{"groups": c.groups}}), ""); o != Good || who.Rights() != nil || who.Groups() != nil {
			t.Errorf("%s: not asked for, and %v", name, o)
		}
	}
	who, _ := judge(t, Claims{Rights: "acl"}, claims(object{"acl": rules(1)}), "")
	topic, err := router.ParseTopic([]byte("own/ann"))
	must(err)
	if v := who.Rights().MayPublish(&auth.Identity{Principal: who}, topic, 0, false); v != auth.Allowed {
		t.Errorf("its own right: %v", v)
	}
}

// FuzzClaims looks for claims that are taken for more than they are.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"ann","exp":1900000000}`)
	f.Add(`{"sub":"ann","exp":1.9e9,"nbf":0,"iat":1,"iss":"x","aud":["m"],"acl":[{"allow":"all","topics":["#"],"qos":[0,1],"retain":null}],"groups":"a b"}`)
	f.Add(`{"sub":"ann","exp":1900000000,"aud":"m","iss":"x","groups":["a","a"],"acl":null}`)
	f.Add(`{"sub":"\ud800","exp":9e99}`)
	f.Add(`{"sub":{"sub":{"sub":[]}},"exp":"1"}`)
	c := Claims{Leeway: time.Second, User: "sub", Rights: "acl", Groups: "groups", Required: []string{"aud=m", "iss"}, Audience: []string{"m"}, Issuer: "x"}
	loose := Claims{User: "sub", Rights: "acl", Groups: "groups"}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, c := range []Claims{c, loose} {
			who, o := judge(t, c, []byte(payload), "")
			if (o == Good) != (who != nil) || o >= outcomes {
				t.Fatalf("%v, %v", who, o)
			}
			if o == Good && (!isName(who.User()) || !who.Expires().After(start) || len(who.Groups()) > maxGroups || slices.Contains(who.Groups(), "")) {
				t.Fatalf("user %q until %v in %q", who.User(), who.Expires(), who.Groups())
			}
		}
	})
}
