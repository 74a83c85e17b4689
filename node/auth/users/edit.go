package users

import (
	"bytes"
	"errors"
	"fmt"
)

// Put gives a user in the text of a file a new password, or adds the user. Other lines
// stay as they are.
func Put(text []byte, name string, record Record) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	line := []byte(name + ":" + record.String() + "\n")
	text, found := replace(text, name, line)
	if found {
		return text, nil
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(text, line...), nil
}

// Has says whether a user is in the text of a file.
func Has(text []byte, name string) bool {
	_, found := replace(text, name, nil)
	return found
}

// Remove takes a user out of the text of a file. The last one remains, for a file
// without any is not taken.
func Remove(text []byte, name string) ([]byte, error) {
	text, found := replace(text, name, nil)
	if !found {
		return nil, fmt.Errorf("there is no user %q", name)
	}
	if !hasUsers(text) {
		return nil, errors.New("it is the only user, and a node takes no file without any")
	}
	return text, nil
}

// replace puts line in place of the user's.
func replace(text []byte, name string, line []byte) (replaced []byte, found bool) {
	for old := range bytes.Lines(text) {
		if who, _, _, _ := cut(string(old)); who == name {
			found = true
			old = line
			line = nil // once
		}
		replaced = append(replaced, old...)
	}
	return replaced, found
}

func hasUsers(text []byte) bool {
	for line := range bytes.Lines(text) {
		if _, _, found, _ := cut(string(line)); found {
			return true
		}
	}
	return false
}
