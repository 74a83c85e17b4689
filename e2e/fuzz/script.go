package fuzz

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Way is how a client comes.
type Way uint8

// The ways. A stranger speaks in the clear where TLS is spoken.
const (
	ByTCP Way = iota
	ByTLS
	ByWS
	ByWSS // behind a proxy, whose header comes first
	Stranger
	ways
)

var wayNames = [ways]string{"tcp", "tls", "ws", "wss", "stranger"}

func (w Way) String() string { return wayNames[w] }

// web says whether there are frames of WebSocket around the packets.
func (w Way) web() bool { return w == ByWS || w == ByWSS }

// Step is one thing a client does: a write, or a wait.
type Step struct {
	Write []byte
	Pause time.Duration // before it goes on
	Await bool          // goes on when something has come, or has not for a while
}

// End is how a client leaves.
type End uint8

// The ends.
const (
	Finish End = iota // it closes its side, and expects the node to close the other
	Reset             // it is gone
	Ping              // it expects an answer to a PINGREQ or the connection's end, and then does as Finish
	Stay              // it stays until the node ends the connection; once let in, it does as Finish
	ends
)

var endNames = [ends]string{"finish", "reset", "ping", "stay"}

// Script is all that a client does on one connection.
type Script struct {
	Node   int // index of the node it goes to
	Way    Way
	Header []byte // what goes before TLS: a PROXY header, for a ByWSS
	Deaf   bool   // it reads nothing before its end
	Steps  []Step
	End    End
	Pings  int // PINGREQs among the steps, for an end by Ping
}

// Write writes the script as text, which ReadScripts reads.
func (s *Script) Write(w io.Writer) {
	fmt.Fprintf(w, "to %d %s\n", s.Node, s.Way)
	if len(s.Header) > 0 {
		fmt.Fprintf(w, "header %x\n", s.Header)
	}
	if s.Deaf {
		fmt.Fprintln(w, "deaf")
	}
	for _, step := range s.Steps {
		switch {
		case step.Await:
			fmt.Fprintln(w, "await")
		case step.Pause > 0:
			fmt.Fprintf(w, "pause %v\n", step.Pause)
		default:
			fmt.Fprintf(w, "send %x\n", step.Write)
		}
	}
	fmt.Fprintf(w, "end %s", endNames[s.End])
	if s.End == Ping {
		fmt.Fprintf(w, " %d", s.Pings)
	}
	fmt.Fprint(w, "\n\n")
}

// ReadScripts reads scripts; what begins with # is a comment.
func ReadScripts(from io.Reader) (all []*Script, err error) {
	var s *Script
	number := 0
	lines := bufio.NewScanner(from)
	for lines.Buffer(nil, 8<<20); lines.Scan(); {
		number++
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if words[0] == "to" {
			s = new(Script)
		}
		if s == nil || !s.read(words[0], words[1:]) {
			return nil, fmt.Errorf("line %d: %.60q is nothing that a script has there", number, lines.Text())
		}
		if words[0] == "end" {
			all, s = append(all, s), nil
		}
	}
	if s != nil {
		return nil, fmt.Errorf("line %d: the script has no end", number)
	}
	return all, lines.Err()
}

// read takes one line of the script's text.
func (s *Script) read(verb string, words []string) bool {
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	at := func(word string, names []string) (i int, ok bool) {
		for i, name := range names {
			if name == word {
				return i, true
			}
		}
		return 0, false
	}
	var err error
	ok := true
	switch verb {
	case "to":
		var way int
		s.Node, err = strconv.Atoi(word(0))
		way, ok = at(word(1), wayNames[:])
		s.Way = Way(way)
	case "header":
		s.Header, err = hex.DecodeString(word(0))
	case "deaf":
		s.Deaf = true
	case "send":
		var b []byte
		b, err = hex.DecodeString(word(0))
		s.Steps = append(s.Steps, Step{Write: b})
	case "pause":
		var d time.Duration
		d, err = time.ParseDuration(word(0))
		s.Steps = append(s.Steps, Step{Pause: d})
	case "await":
		s.Steps = append(s.Steps, Step{Await: true})
	case "end":
		var end int
		end, ok = at(word(0), endNames[:])
		if s.End = End(end); s.End == Ping {
			s.Pings, err = strconv.Atoi(word(1))
		}
	default:
		ok = false
	}
	return ok && err == nil
}
