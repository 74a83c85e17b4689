package audit

import (
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Event is a line. Empty fields are left out of it.
type Event struct {
	What   string // was done or tried: "token.create", or a Kind
	Who    string // did: "token ops", "uid 1000", "loopback", "signal", "file"; or the user that a client says it is
	From   string // address
	Client string // identifier of an MQTT client
	Target string // that it was done to: a name, a topic, a method and path
	Result string // Done, Refused, Failed, or a status of HTTP
	Why    string
}

// Results.
const (
	Done    = "done"
	Refused = "refused"
	Failed  = "failed"
)

// Kind is what somebody is refused.
type Kind uint8

// The kinds of refusals. Each has a budget of its own.
const (
	Connect   Kind = iota // a client could not prove who it is, or may not come in
	Publish               // a client may not publish that
	Subscribe             // a client may not subscribe to that
	Request               // a request to the API: no token, a wrong one, too little scope
	Stranger              // somebody who is no member, at the gossip or cluster port
	kinds
)

var kindNames = [kinds]string{"connect", "publish", "subscribe", "request", "stranger"}

func (k Kind) String() string { return kindNames[k] }

// maxText is how much of a text of others a line has, in bytes.
const maxText = 128

// clean is s as it may stand in a line: cut, and quoted if anything in it is not printable.
func clean(s string) string {
	cut := len(s) > maxText
	if cut {
		s = s[:maxText]
		last := maxText - 1
		for last > maxText-utf8.UTFMax && !utf8.RuneStart(s[last]) {
			last--
		}
		if !utf8.FullRuneInString(s[last:]) {
			s = s[:last] // not in the middle of a character
		}
	}
	printable := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
	if !printable {
		s = strconv.QuoteToASCII(s)
	}
	if cut {
		s += "..."
	}
	return strings.Clone(s) // texts of clients may be lent, or be a part of something large
}

// cleaned is e with texts that may be kept.
func (e Event) cleaned() Event {
	for _, s := range []*string{&e.Who, &e.From, &e.Client, &e.Target, &e.Why} {
		*s = clean(*s)
	}
	return e
}

func (e Event) attrs(leftOut uint64) []slog.Attr {
	attrs := make([]slog.Attr, 0, 8)
	for _, f := range [...]struct{ key, value string }{
		{"what", e.What}, {"who", e.Who}, {"from", e.From}, {"client", e.Client},
		{"target", e.Target}, {"result", e.Result}, {"why", e.Why},
	} {
		if f.value != "" {
			attrs = append(attrs, slog.String(f.key, f.value))
		}
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Uint64("left_out", leftOut))
	}
	return attrs
}
