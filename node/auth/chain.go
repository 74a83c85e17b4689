package auth

// Authenticator says who a client is: at once, or, having returned ErrLater, by one
// call of later from any goroutine. ErrPass leaves it to others. It is called on event
// loops and must not block.
type Authenticator interface {
	Authenticate(r Request, later func(*Principal, error)) (*Principal, error)
}

// Chain asks several, in order, until one has an answer other than ErrPass. A client of
// whom none knows anything is refused.
type Chain []Authenticator

// Authenticate implements Authenticator; it never returns ErrPass.
func (c Chain) Authenticate(r Request, later func(*Principal, error)) (*Principal, error) {
	named := r.Connect.HasUsername
	if len(c) > 1 {
		r.Connect = r.Connect.Clone() // it may have to be shown to the second when the first has taken its time
	}
	for len(c) > 0 {
		first, rest := c[0], c[1:]
		p, err := first.Authenticate(r, func(p *Principal, err error) { rest.goOn(r, named, p, err, later) })
		if err != ErrPass {
			return p, err
		}
		c = rest
	}
	return nil, unknown(named)
}

// goOn takes the answer of the authenticator before c that came later.
func (c Chain) goOn(r Request, named bool, p *Principal, err error, later func(*Principal, error)) {
	switch {
	case err != ErrPass:
	case len(c) == 0:
		p, err = nil, unknown(named)
	default:
		p, err = c.Authenticate(r, later)
	}
	if err != ErrLater {
		later(p, err)
	}
}

// unknown is the answer to a client that nobody knows.
func unknown(named bool) error {
	if named {
		return ErrBadCredentials
	}
	return ErrRefused
}
