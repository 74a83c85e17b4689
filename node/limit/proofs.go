package limit

import (
	"errors"

	"dunlin/node/auth"
)

// Proofs are the logins by an auth.Method: those that were wrong are counted like wrong
// passwords, and who is wrong too often is held off, as by Logins.
type Proofs struct {
	auth.Method
	door *Door
}

// NewProofs puts a Door before a method.
func NewProofs(d *Door, m auth.Method) Proofs { return Proofs{m, d} }

// Begin implements auth.Method.
func (p Proofs) Begin(r auth.Request) auth.Exchange {
	d, from := p.door, r.Remote.Addr()
	x := p.Method.Begin(r)
	if x == nil || d.pairs == nil && d.rates.failures.interval == 0 || d.trusts(from) {
		return x
	}
	return &proof{Exchange: x, attempt: attempt{door: d, from: from}}
}

// proof is one of them under way. It counts as one that may fail while a step is judged,
// not while the client makes up its mind: who goes in between has tried nothing.
type proof struct {
	auth.Exchange
	attempt
}

// Step implements auth.Exchange. As long as the client has not said whom it claims to be,
// its address counts alone.
func (x *proof) Step(data []byte, later func(auth.Reply, error)) (auth.Reply, error) {
	if user, said := x.User(); said {
		x.name([]byte(user))
	}
	d := x.door
	if why := d.count(x.begin(d.now())); why != Admitted {
		return auth.Reply{}, auth.ErrTooOften
	}
	reply, err := x.Exchange.Step(data, func(reply auth.Reply, err error) {
		x.judged(reply, err)
		later(reply, err)
	})
	if !errors.Is(err, auth.ErrLater) {
		x.judged(reply, err)
	}
	return reply, err
}

// judged counts how a step went. One that was followed by a question has not failed, nor
// proved anything.
func (x *proof) judged(reply auth.Reply, err error) {
	if err == nil && !reply.Done {
		err = auth.ErrBusy
	}
	x.end(err)
}
