package jwt

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"

	"dunlin/node/auth"
	"dunlin/node/auth/acl"
)

const (
	maxUser        = 1 << 10 // bytes
	maxGroups      = 256
	maxRights      = 64      // rules in a token
	maxRightsBytes = 4 << 10 // of them in JSON: what they take when they are ready is some 20 times that
)

// Claims say what a token has to claim, and what its claims mean. A claim is named by
// its name, or if there is none of that name by those of the objects that it is in, with
// dots between: realm_access.roles.
type Claims struct {
	Issuer   string        // that iss has to be; "": any
	Audience []string      // of which aud has to have one; none: any
	Required []string      // what else has to be claimed: a name, or name=value
	Leeway   time.Duration // by which the clocks of issuer and node may differ

	User     string // the claim that is the user's name
	SameUser bool   // the client's user name has to be that one
	Rights   string // the claim that is a list of rules; ""
	Groups   string // the claim that is groups: a list, or a text with spaces between; ""
}

// CheckClaim says what is wrong with a claim that is required, if anything.
func CheckClaim(required string) error {
	if name, _, _ := strings.Cut(required, "="); name == "" {
		return errors.New("want the name of a claim, or name=value")
	}
	return nil
}

// claimed is what a token says, by name.
type claimed map[string]json.RawMessage

// parse reads what a signature was good for. Who says something twice, or says it in
// what is no text, says nothing.
func parse(payload []byte) (claimed, bool) {
	var all claimed
	ok := utf8.Valid(payload) && json.Unmarshal(payload, &all) == nil && all != nil
	return all, ok
}

// judge says for whom a token speaks whose signature is good; user is what the client
// calls itself, if it does.
func (c *Claims) judge(all claimed, user string, now time.Time) (*auth.Principal, Outcome) {
	until, o := c.inTime(all, now)
	if o != Good {
		return nil, o
	}
	if iss, ok := all.text("iss"); c.Issuer != "" && (!ok || iss != c.Issuer) {
		return nil, WrongIssuer
	}
	if len(c.Audience) > 0 && !slices.ContainsFunc(all.audience(), func(a string) bool { return slices.Contains(c.Audience, a) }) {
		return nil, WrongAudience
	}
	for _, r := range c.Required {
		if !all.meets(r) {
			return nil, BadClaims
		}
	}
	name, ok := all.text(c.User)
	if !ok || !isName(name) || c.SameUser && user != name {
		return nil, BadUser
	}
	x := auth.Extras{Expires: until}
	if x.Rights, ok = c.rights(all); !ok {
		return nil, BadRights
	}
	if x.Groups, ok = c.groups(all); !ok {
		return nil, BadRights
	}
	return auth.NewPrincipal(name).With(x), Good
}

// inTime says until when a token is good, which it has to say itself.
func (c *Claims) inTime(all claimed, now time.Time) (until time.Time, o Outcome) {
	exp, ok := all.time("exp")
	until = exp.Add(c.Leeway)
	if !ok || !now.Before(until) {
		return until, Expired
	}
	for _, name := range []string{"nbf", "iat"} {
		if _, said := all[name]; !said {
			continue
		}
		if from, ok := all.time(name); !ok || now.Add(c.Leeway).Before(from) {
			return until, Early
		}
	}
	return until, Good
}

// rights are the rules that a token has for its bearer.
func (c *Claims) rights(all claimed) (auth.Rights, bool) {
	raw, said := all.find(c.Rights)
	if c.Rights == "" || !said {
		return nil, true
	}
	var rules []acl.Rule
	if len(raw) > maxRightsBytes || !parseRules(raw, &rules) || len(rules) > maxRights {
		return nil, false
	}
	if len(rules) == 0 {
		return nil, true
	}
	own, err := acl.NewOwn(rules)
	return own, err == nil
}

// parseRules reads rules, of which every word has to be understood.
func parseRules(raw json.RawMessage, rules *[]acl.Rule) bool {
	var words []map[string]json.RawMessage
	if json.Unmarshal(raw, &words) != nil {
		return false
	}
	for _, rule := range words {
		for word := range rule {
			if !slices.Contains(ruleWords, word) {
				return false
			}
		}
	}
	return json.Unmarshal(raw, rules) == nil
}

// ruleWords are what an acl.Rule is made of.
var ruleWords = []string{"allow", "deny", "topics", "users", "clients", "groups", "qos", "retain"}

func (c *Claims) groups(all claimed) ([]string, bool) {
	raw, said := all.find(c.Groups)
	if c.Groups == "" || !said {
		return nil, true
	}
	groups, ok := list(raw)
	if text, isText := asText(raw); isText {
		groups, ok = strings.Fields(text), true // as scope is [RFC 8693, 4.2]
	}
	return groups, ok && len(groups) <= maxGroups && !slices.Contains(groups, "")
}

// isName holds for what may be a user's name.
func isName(s string) bool {
	return s != "" && len(s) <= maxUser && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// find looks a claim up; one that is null is not there.
func (all claimed) find(name string) (json.RawMessage, bool) {
	if raw, ok := all[name]; ok {
		return raw, string(raw) != "null"
	}
	outer, inner, nested := strings.Cut(name, ".")
	raw, ok := all[outer]
	if !nested || !ok {
		return nil, false
	}
	var within claimed
	if json.Unmarshal(raw, &within) != nil {
		return nil, false
	}
	return within.find(inner)
}

func (all claimed) text(name string) (string, bool) {
	raw, ok := all.find(name)
	if !ok {
		return "", false
	}
	return asText(raw)
}

// audience is a list, or one text [RFC 7519, 4.1.3].
func (all claimed) audience() []string {
	if one, ok := all.text("aud"); ok {
		return []string{one}
	}
	several, _ := list(all["aud"])
	return several
}

// meets says whether something is claimed that is required: anything under that name,
// or that value, alone or in a list.
func (all claimed) meets(required string) bool {
	name, value, particular := strings.Cut(required, "=")
	raw, ok := all.find(name)
	if !ok || !particular {
		return ok
	}
	if text, ok := asText(raw); ok {
		return text == value
	}
	if several, ok := list(raw); ok {
		return slices.Contains(several, value)
	}
	return string(raw) == value // a number, true or false
}

// latest is the end of the year 9999, beyond which no token is meant.
const latest = 253402300799

// time is a claim in seconds since 1970, perhaps with a fraction [RFC 7519, 2].
func (all claimed) time(name string) (time.Time, bool) {
	raw := string(all[name])
	if raw == "" || raw[0] == '"' {
		return time.Time{}, false
	}
	s, err := strconv.ParseFloat(raw, 64)
	if err != nil || s < 0 || s > latest {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(s)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

func asText(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

func list(raw json.RawMessage) (several []string, ok bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	return several, json.Unmarshal(raw, &several) == nil
}
