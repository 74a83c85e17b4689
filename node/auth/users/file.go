package users

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
	"dunlin/node/auth/scram"
)

const (
	maxUsers = 1_000_000
	maxLine  = 4 << 10
	maxName  = 1 << 10 // bytes
)

// Table is the users of a file, or of the cluster's store. It is immutable once made; the
// zero value has nobody in it.
type Table struct {
	roll   auth.Roll
	users  map[string]user
	all    []password.Hash // by number, as decoys
	shapes scram.Shapes
}

// user is what is known of one. The principal is that of all its connections.
type user struct {
	*auth.Principal
	text   string // of the record
	record Record
}

// Len is the number of users.
func (t *Table) Len() int { return len(t.users) }

// Names are those of the users, in order.
func (t *Table) Names() []string { return slices.Sorted(maps.Keys(t.users)) }

// Read reads users, one a line. The error names the line.
func Read(r io.Reader) (*Table, error) {
	t := &Table{roll: auth.FileRoll, users: make(map[string]user)}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	at := 0
	for lines.Scan() {
		at++
		if err := t.add(lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: more than %d bytes", at+1, maxLine)
	case err != nil:
		return nil, err
	case t.Len() == 0:
		return nil, errors.New("no users in it")
	}
	return t, nil
}

// add takes a line over.
func (t *Table) add(line string) error {
	name, text, found, speaks := cut(line)
	if !speaks {
		return nil
	}
	if !found {
		return errors.New("want name:hash")
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if _, twice := t.users[name]; twice {
		return fmt.Errorf("user %q stands twice", name)
	}
	if t.Len() == maxUsers {
		return fmt.Errorf("more than %d users", maxUsers)
	}
	u, err := parse(text)
	if err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	u.Principal = auth.NewEnrolled(auth.FileRoll, name)
	t.put(name, u)
	return nil
}

func (t *Table) put(name string, u user) {
	t.users[name] = u
	if !u.record.Hash.IsZero() {
		t.all = append(t.all, u.record.Hash)
	}
	for _, v := range u.record.Verifiers {
		t.shapes.Add(v)
	}
}

// parse reads what is kept of a user: what follows the name in a file.
func parse(text string) (u user, err error) {
	u.text = text
	u.record, err = ParseRecord(text)
	return u, err
}

// cut splits a line; one that does not speak is empty or a comment.
func cut(line string) (name, record string, found, speaks bool) {
	line = strings.TrimRight(line, " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", false, false
	}
	name, record, found = strings.Cut(line, ":")
	return name, record, found, true
}

// CheckName says what is wrong with a user's name, if anything.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a user without a name")
	case len(name) > maxName:
		return fmt.Errorf("a name of %d bytes, want at most %d", len(name), maxName)
	case name[0] == '#':
		return fmt.Errorf("user %q: a line that begins with # is a comment", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("user %q: a space at an end", name)
	case !utf8.ValidString(name) || strings.ContainsRune(name, ':') || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("user %q: a name is UTF-8 without colons and control characters", name)
	}
	return nil
}
