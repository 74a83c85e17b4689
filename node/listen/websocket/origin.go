package websocket

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// Origins says which pages may open a WebSocket. A browser names in Origin the page
// that wants to; it keeps nobody from asking. What is no browser names none, and is
// not held to this.
//
// MQTT's credentials are in CONNECT, so that a foreign page can take nothing from its
// visitor's browser to log in with. But where nobody need log in, as on the loopback
// address of whoever tries Dunlin out, every page on the Internet that is open in a
// browser there could read and publish. Hence SameHost by default: a page that comes
// from the host that it asks, from whatever port, for a broker serves no pages itself.
type Origins struct {
	any, none, sameHost bool
	patterns            []string // in small letters
}

// What the elements of a list may be, beside patterns.
const (
	AnyOrigin  = "*"
	NullOrigin = "null"      // of files, and of what a page shuts in a sandbox
	SameHost   = "same-host" // host and Host agree, the ports may differ
)

// ParseOrigins reads a list of these words and of origins as a browser writes them:
// https://app.example.com, http://localhost:3000, https://*.example.com.
func ParseOrigins(list []string) (Origins, error) {
	var o Origins
	for _, s := range list {
		switch s {
		case AnyOrigin:
			o.any = true
		case NullOrigin:
			o.none = true
		case SameHost:
			o.sameHost = true
		default:
			if !isOrigin(s) {
				return Origins{}, fmt.Errorf("websocket: %q is no origin, such as https://app.example.com", s)
			}
			o.patterns = append(o.patterns, strings.ToLower(s))
		}
	}
	return o, nil
}

// isOrigin says whether s has a scheme, and a host, of which the first label may be *,
// and nothing behind the port.
func isOrigin(s string) bool {
	scheme, host, ok := strings.Cut(s, "://")
	return ok && isToken([]byte(scheme)) && host != "" && !strings.ContainsAny(host, "/?#@ ,\t\r\n") &&
		!strings.Contains(strings.TrimPrefix(host, "*."), "*") && host != "*." && hostname([]byte(host)) != nil
}

// allow judges the Origin of a request to host, whose listener may be bound to a
// loopback address. An absent one is empty.
func (o *Origins) allow(origin, host []byte, loopback bool) bool {
	switch {
	case len(origin) == 0 || o.any:
		return true
	case string(origin) == NullOrigin:
		return o.none
	}
	scheme, from, ok := bytes.Cut(origin, []byte("://"))
	if !ok {
		return false
	}
	if o.sameHost && sameHost(hostname(from), hostname(host), loopback) {
		return true
	}
	for _, p := range o.patterns {
		pscheme, phost, _ := strings.Cut(p, "://")
		if is(scheme, pscheme) && matches(from, phost) {
			return true
		}
	}
	return false
}

func matches(host []byte, pattern string) bool {
	if rest, wild := strings.CutPrefix(pattern, "*"); wild {
		return len(host) > len(rest) && is(host[len(host)-len(rest):], rest)
	}
	return is(host, pattern)
}

// sameHost compares two names. The names of the loopback address are all one, and to a
// listener there only they are any good: another name that leads to it is some page's
// trick to be taken for at home.
func sameHost(a, b []byte, loopback bool) bool {
	if a == nil || b == nil {
		return false
	}
	if isLoopback(a) && isLoopback(b) {
		return true
	}
	return !loopback && bytes.EqualFold(a, b)
}

func isLoopback(name []byte) bool {
	if is(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(string(bytes.Trim(name, "[]")))
	return err == nil && ip.Unmap().IsLoopback()
}

// hostname is host without its port, nil if it is none.
func hostname(host []byte) []byte {
	port := bytes.LastIndexByte(host, ':')
	if port < 0 || bytes.IndexByte(host[port:], ']') >= 0 {
		port = len(host)
	}
	name := host[:port]
	if len(name) == 0 || name[0] != '[' && bytes.IndexByte(name, ':') >= 0 {
		return nil
	}
	return name
}
