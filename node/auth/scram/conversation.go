package scram

import (
	"crypto/subtle"
	"strconv"
)

// conversation is the server's side of one login, a function of what it is told: first,
// challenge, final, in that order and once each.
type conversation struct {
	nonce string // ours, printable and without a comma
	clientFirst
	challenged string // our first message
	verifier   Verifier
	known      bool
}

// first takes the client's first message, after which user is set.
func (c *conversation) first(message []byte) (err error) {
	c.clientFirst, err = parseFirst(string(message))
	return err
}

// challenge answers it. A user who is not known has a verifier too, which no proof fits.
func (c *conversation) challenge(v Verifier, known bool) []byte {
	c.verifier, c.known = v, known
	b := append([]byte("r="), c.clientFirst.nonce...)
	b = append(b, c.nonce...)
	b = append(b, ",s="...)
	b = append(b, encode(v.saltText())...)
	b = append(b, ",i="...)
	b = strconv.AppendUint(b, uint64(v.iterations), 10)
	c.challenged = string(b)
	return b
}

// final takes the client's final message. If that proves that it knows the password, proved
// is true, and signature for the client: it proves that the server knows the user.
func (c *conversation) final(message []byte) (signature []byte, proved bool, err error) {
	f, err := parseFinal(string(message))
	if err != nil {
		return nil, false, err
	}
	if f.header != encode(c.header) || f.nonce != c.clientFirst.nonce+c.nonce {
		return nil, false, errAnother
	}
	m := c.verifier.mechanism
	said := []string{c.bare, ",", c.challenged, ",", f.unproved}
	stored := []byte(c.verifier.storedKey())
	key := m.mac(stored, said...) // of the client's signature, and becomes its key
	if len(f.proof) != len(key) {
		return nil, false, errMessage
	}
	subtle.XORBytes(key, key, f.proof)
	proved = subtle.ConstantTimeCompare(m.digest(key), stored) == 1 && c.known
	signature = append([]byte("v="), encode(m.mac([]byte(c.verifier.serverKey()), said...))...)
	if !proved {
		return nil, false, nil // after as much work
	}
	return signature, true, nil
}
