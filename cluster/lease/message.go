package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Asks and answers are a version byte and JSON: there are a few a second. Fields
// that a release does not know are left out of account, so that two adjacent ones
// work together.
const messageVersion = 1

// holder is a node in one of its generations.
type holder struct {
	Node       uint32 `json:"node"`
	Generation uint64 `json:"generation"`
}

// renew asks a voter for a lease, and tells whom its sender cannot reach. The
// sender need not be admitted to tell that.
type renew struct {
	holder
	Voters []string `json:"voters"` // whose majority the sender counts
	report
}

// report is whom a node has not reached for Options.Broken, and whose processes it
// found dead. Both are by number, rising.
type report struct {
	Down []holder `json:"down,omitempty"`
	Gone []holder `json:"gone,omitempty"`
}

type renewed struct {
	Granted bool `json:"granted"`
	Ended   bool `json:"ended"` // the generation is revoked, or over
}

// ended asks a voter whether it will never again grant a lease to a generation.
type ended struct {
	holder
	Voters []string `json:"voters"`
}

type endedAnswer struct {
	Ended bool `json:"ended"`
	// Since is how long ago, at least, the voter granted that generation its last
	// lease; 0 if it cannot tell.
	Since time.Duration `json:"since,omitempty"`
}

// count asks a node to wait for the sender.
type count struct {
	holder
}

// counted: it does, in that generation of its own, from that version of its routes
// on.
type counted struct {
	Generation uint64 `json:"generation"`
	Process    uint64 `json:"process"`
	Version    uint64 `json:"version"`
}

func encode(m any) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("lease: encode: " + err.Error())
	}
	return append([]byte{messageVersion}, b...)
}

var errMessage = errors.New("lease: message of an unknown version")

func decode(b []byte, to any) error {
	if len(b) == 0 || b[0] != messageVersion {
		return errMessage
	}
	if err := json.Unmarshal(b[1:], to); err != nil {
		return fmt.Errorf("lease: message: %w", err)
	}
	return nil
}
