//go:build !invariants

package session

func (l *Live) checked(out []byte) []byte { return out }
