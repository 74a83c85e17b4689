package config

import (
	"fmt"
	"strings"
)

// Error is a configuration that cannot be used, in one line.
type Error struct {
	Where   string // "dunlin.yaml:3", "environment", "flag", "default"; "" if built in code
	Key     string // as written there: limits.max-keepalive, DUNLIN_LOOPS, --loops
	Value   string // as written there; meaningless with NoValue
	NoValue bool   // the key itself is wrong, or the value is secret
	Want    string // what is allowed, or what to do
	Flag    bool   // it came by the command line
}

// Error keeps to one line whatever the value holds (case 55).
func (e *Error) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	if !e.NoValue {
		v := e.Value
		if len(v) > 80 {
			v = v[:80] + "..."
		}
		fmt.Fprintf(&b, "%q is not allowed: ", v)
	}
	b.WriteString(e.Want)
	return b.String()
}

// locate completes an error of Validate by the origin of the value.
func (e *Error) locate(origin string) {
	switch {
	case strings.HasPrefix(origin, "--"):
		e.Where, e.Key, e.Flag = "flag", origin, true
	case strings.HasPrefix(origin, envPrefix):
		e.Where, e.Key = "environment", origin
	default:
		e.Where = origin
	}
}
