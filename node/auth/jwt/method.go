package jwt

import "dunlin/node/auth"

// MethodNames are what clients call the Method: the plain name, and those that brokers in
// the cloud have for the same.
var MethodNames = []string{"JWT", "OAUTH2-JWT", "CUSTOM-JWT"}

// Method is auth.Method for clients that have a token as authentication data: that of CONNECT,
// or of the AUTH that answers a CONNECT without any; and of each AUTH by which they go on
// with another one.
type Method struct {
	name   string
	tokens *Authenticator
}

// NewMethod makes the Method with a name, by which tokens are taken.
func NewMethod(name string, tokens *Authenticator) *Method { return &Method{name, tokens} }

// Name implements auth.Method.
func (m *Method) Name() string { return m.name }

// Begin implements auth.Method.
func (m *Method) Begin(r auth.Request) auth.Exchange {
	if r.Connect == nil {
		return &exchange{tokens: m.tokens, user: r.Was.User(), asked: true}
	}
	return &exchange{tokens: m.tokens, user: string(r.Connect.Username)}
}

// exchange is auth.Exchange for one token.
type exchange struct {
	tokens *Authenticator
	user   string // that the client calls itself
	asked  bool   // for the token
}

// Step implements auth.Exchange.
func (x *exchange) Step(data []byte, later func(auth.Reply, error)) (auth.Reply, error) {
	if len(data) == 0 && !x.asked {
		x.asked = true
		return auth.Reply{}, nil
	}
	if !isShaped(data) {
		return auth.Reply{}, x.tokens.count(Malformed)
	}
	return auth.Reply{}, x.tokens.take(data, x.user, func(who *auth.Principal, err error) {
		later(auth.Reply{Done: err == nil, Who: who}, err)
	})
}

// User implements auth.Exchange. A client may leave it to the token.
func (x *exchange) User() (string, bool) { return x.user, true }
