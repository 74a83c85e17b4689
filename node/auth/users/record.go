package users

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dunlin/node/auth/password"
	"dunlin/node/auth/scram"
)

// Record is what is kept of a user's password, in one way or several. Its text is a field
// for each, with a space between: the hash, then verifiers. One without any is not valid.
type Record struct {
	Hash      password.Hash    // for who shows the password; zero: that lets nobody in
	Verifiers []scram.Verifier // for who proves to know it; one at most for each mechanism, in their order
}

// ParseRecord reads a Record. What it costs to check it is bounded.
func ParseRecord(text string) (Record, error) {
	var r Record
	for i, field := range strings.Split(text, " ") {
		if i == 0 && !strings.HasPrefix(field, "SCRAM-") {
			var err error
			if r.Hash, err = password.Parse(field); err != nil {
				return Record{}, err
			}
			continue
		}
		v, err := scram.Parse(field)
		if err != nil {
			return Record{}, err
		}
		if n := len(r.Verifiers); n > 0 && r.Verifiers[n-1].Mechanism() >= v.Mechanism() {
			return Record{}, fmt.Errorf("%s stands twice, or not in the order of the mechanisms", v.Mechanism())
		}
		r.Verifiers = append(r.Verifiers, v)
	}
	return r, nil
}

// Check says what is wrong with the text of a Record, if anything.
func Check(text string) error {
	_, err := ParseRecord(text)
	return err
}

// Make makes the text of the Record of a new password, with all that most clients can use.
// It takes its time.
func Make(secret []byte) (text string, err error) {
	r, err := MakeRecord(secret, true, []scram.Mechanism{scram.SHA256}, scram.DefaultIterations)
	if errors.Is(err, scram.ErrPassword) {
		r, err = MakeRecord(secret, true, nil, 0)
	}
	return r.String(), err
}

// MakeRecord makes that of a new password. It takes its time.
func MakeRecord(secret []byte, hashed bool, mechanisms []scram.Mechanism, iterations int) (r Record, err error) {
	if !hashed && len(mechanisms) == 0 {
		return Record{}, errors.New("nothing would be kept of the password")
	}
	if hashed {
		if r.Hash, err = password.Make(secret); err != nil {
			return Record{}, err
		}
	}
	for _, m := range scram.Mechanisms() {
		if !slices.Contains(mechanisms, m) {
			continue
		}
		v, err := scram.Derive(m, secret, iterations)
		if err != nil {
			return Record{}, err
		}
		r.Verifiers = append(r.Verifiers, v)
	}
	return r, nil
}

// String is the Record in the form that ParseRecord reads.
func (r Record) String() string {
	fields := make([]string, 0, 1+len(r.Verifiers))
	if !r.Hash.IsZero() {
		fields = append(fields, r.Hash.String())
	}
	for _, v := range r.Verifiers {
		fields = append(fields, v.String())
	}
	return strings.Join(fields, " ")
}

// verifier returns that for m.
func (r Record) verifier(m scram.Mechanism) (scram.Verifier, bool) {
	for _, v := range r.Verifiers {
		if v.Mechanism() == m {
			return v, true
		}
	}
	return scram.Verifier{}, false
}
