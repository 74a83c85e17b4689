package config

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is one leaf of the configuration as the outside sees it. It is bound
// to the Config it was made for.
type Setting struct {
	Key     string // "limits.max-keepalive"
	Kind    string // what help calls its value: "address", "duration"
	Group   string // heading in help and documents
	Help    string // one sentence, without the default
	Allowed string // what a value may be, as error messages say it
	Secret  bool   // never shown
	List    bool   // commas in flags and environment, a sequence in YAML
	Switch  bool   // true or false

	get   func() string
	set   func(string) bool // false: not allowed, nothing changed
	valid func() bool       // is the value that is there now allowed; nil: whatever set takes
}

// HasFlag says whether `dunlin serve` has a flag for it: top-level keys have.
func (s Setting) HasFlag() bool { return !strings.Contains(s.Key, ".") }

// Env is the environment variable.
func (s Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "__", "-", "_").Replace(s.Key))
}

// Value is the current value in the form in which it can be set.
func (s Setting) Value() string { return s.get() }

// Shown is Value, or dots for a secret.
func (s Setting) Shown() string {
	if v := s.get(); !s.Secret || v == "" {
		return v
	}
	return "******"
}

func text(key string, p *string, allowed string, valid func(string) bool, help string) Setting {
	return Setting{
		Key: key, Kind: "text", Help: help, Allowed: allowed,
		get: func() string { return *p },
		set: func(v string) bool {
			if !valid(v) {
				return false
			}
			*p = v
			return true
		},
		valid: func() bool { return valid(*p) },
	}
}

func (s Setting) as(kind string) Setting {
	s.Kind = kind
	return s
}

func file(key string, p *string, help string) Setting {
	return text(key, p, "a path", func(v string) bool { return !strings.ContainsRune(v, 0) }, help).as("path")
}

func address(key string, p *string, help string) Setting {
	return text(key, p, "host:port, such as 127.0.0.1:1883", isAddress, help).as("address")
}

func optionalAddress(key string, p *string, help string) Setting {
	return text(key, p, "host:port, such as 127.0.0.1:1883, or nothing for off", func(v string) bool { return v == "" || isAddress(v) }, help).as("address")
}

func choice[T ~string](key string, p *T, of []T, help string) Setting {
	var names []string
	for _, o := range of {
		names = append(names, string(o))
	}
	return Setting{
		Key: key, Kind: "choice", Help: help, Allowed: strings.Join(names, " or "),
		get: func() string { return string(*p) },
		set: func(v string) bool {
			if !slices.Contains(of, T(v)) {
				return false
			}
			*p = T(v)
			return true
		},
		valid: func() bool { return slices.Contains(of, *p) },
	}
}

func toggle(key string, p *bool, help string) Setting {
	return Setting{
		Key: key, Kind: "bool", Help: help, Allowed: "true or false", Switch: true,
		get: func() string { return strconv.FormatBool(*p) },
		set: func(v string) bool {
			switch v {
			case "true", "false":
				*p = v == "true"
				return true
			}
			return false
		},
	}
}

type integer interface {
	~int | ~int64 | ~uint16 | ~uint32
}

func number[T integer](key string, p *T, lo, hi int64, help string) Setting {
	allowed := fmt.Sprintf("a whole number from %d to %d", lo, hi)
	if hi == math.MaxInt32 {
		allowed = fmt.Sprintf("a whole number, at least %d", lo)
	}
	return Setting{
		Key: key, Kind: "number", Help: help, Allowed: allowed,
		get: func() string { return strconv.FormatInt(int64(*p), 10) },
		set: func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || n < lo || n > hi {
				return false
			}
			*p = T(n)
			return true
		},
		valid: func() bool { return int64(*p) >= lo && int64(*p) <= hi },
	}
}

func size[T integer](key string, p *T, lo, hi int64, help string) Setting {
	return Setting{
		Key: key, Kind: "size", Help: help, Allowed: fmt.Sprintf("a size from %s to %s", formatSize(lo), formatSize(hi)),
		get: func() string { return formatSize(int64(*p)) },
		set: func(v string) bool {
			n, ok := parseSize(v)
			if !ok || n < lo || n > hi {
				return false
			}
			*p = T(n)
			return true
		},
		valid: func() bool { return int64(*p) >= lo && int64(*p) <= hi },
	}
}

// duration takes multiples of unit from lo to hi, and zero if zero is not "",
// which then says what zero means.
func duration(key string, p *time.Duration, unit, lo, hi time.Duration, zero, help string) Setting {
	allowed := fmt.Sprintf("a duration from %s to %s, such as 30s or 5m", formatDuration(lo), formatDuration(hi))
	if zero != "" {
		allowed += ", or 0 (" + zero + ")"
	}
	ok := func(d time.Duration) bool {
		return d == 0 && zero != "" || d >= lo && d <= hi && d%unit == 0
	}
	return Setting{
		Key: key, Kind: "duration", Help: help, Allowed: allowed,
		get: func() string { return formatDuration(*p) },
		set: func(v string) bool {
			d, err := time.ParseDuration(v)
			if err != nil || !ok(d) {
				return false
			}
			*p = d
			return true
		},
		valid: func() bool { return ok(*p) },
	}
}

func list(key string, p *[]string, allowed string, each func(string) bool, help string) Setting {
	valid := func(vs []string) bool {
		return !slices.ContainsFunc(vs, func(v string) bool { return !each(v) })
	}
	return Setting{
		Key: key, Kind: "list", Help: help, Allowed: allowed, List: true,
		get: func() string { return strings.Join(*p, ",") },
		set: func(v string) bool {
			var vs []string
			for _, e := range strings.Split(v, ",") {
				if e = strings.TrimSpace(e); e != "" {
					vs = append(vs, e)
				}
			}
			if !valid(vs) {
				return false
			}
			*p = vs
			return true
		},
		valid: func() bool { return valid(*p) },
	}
}

func key(name string, p *[]byte, help string) Setting {
	ok := func(k []byte) bool { return slices.Contains([]int{0, 16, 24, 32}, len(k)) }
	return Setting{
		Key: name, Kind: "base64", Help: help, Allowed: "base64 of 16, 24 or 32 bytes", Secret: true,
		get: func() string { return base64.StdEncoding.EncodeToString(*p) },
		set: func(v string) bool {
			k, err := base64.StdEncoding.DecodeString(v)
			if err != nil || !ok(k) {
				return false
			}
			if *p = nil; len(k) > 0 {
				*p = k
			}
			return true
		},
		valid: func() bool { return ok(*p) },
	}
}

func level(key string, p *slog.Level, help string) Setting {
	names := []string{"debug", "info", "warn", "error"}
	return Setting{
		Key: key, Kind: "level", Help: help, Allowed: "debug, info, warn or error",
		get: func() string { return strings.ToLower(p.String()) },
		set: func(v string) bool {
			return slices.Contains(names, v) && p.UnmarshalText([]byte(v)) == nil
		},
		valid: func() bool { return slices.Contains(names, strings.ToLower(p.String())) },
	}
}

// validName holds for node names and cluster names: safe in a path, a metric
// label and a log line (case 39).
func validName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		default:
			return false
		}
	}
	return true
}

func isAddress(v string) bool {
	host, port, err := net.SplitHostPort(v)
	if err != nil || strings.ContainsAny(host, " /\t\n\x00") {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// IsLoopback says whether nothing beyond this machine reaches addr: its host is
// a loopback IP or "localhost".
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isUnspecified says whether addr binds every interface, so that peers cannot
// use it.
func isUnspecified(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}
