//go:build !invariants

package session

const invariants = false

func (l *Live) checked(out []byte) []byte { return out }
