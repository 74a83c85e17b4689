package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"dunlin/node/auth/acl"
	"dunlin/node/auth/users"
	"dunlin/node/listen/secure"
	"dunlin/node/reload"
)

// Validate checks every value and what must hold between them. Load has done
// it; a Config built in code should. The error is an *Error without a place.
func (c Config) Validate() error {
	for _, s := range Settings(&c) {
		if s.valid != nil && !s.valid() {
			return &Error{Key: s.Key, Value: s.get(), NoValue: s.Secret, Want: "want " + s.Allowed}
		}
	}
	if err := c.validateListeners(); err != nil {
		return err
	}
	if err := c.validateTLS(); err != nil {
		return err
	}
	if err := c.validateApart(); err != nil {
		return err
	}
	if err := c.validateAccess(); err != nil {
		return err
	}
	return c.validateCluster()
}

// validateApart sees that no two addresses meet; the node would find out late, when
// it has entered the cluster.
func (c Config) validateApart() error {
	type bound struct{ key, addr string }
	var taken []bound
	for _, a := range []bound{
		{"mqtt-addr", c.MQTTAddr}, {"mqtts-addr", c.MQTTSAddr}, {"ws-addr", c.WSAddr}, {"wss-addr", c.WSSAddr},
		{"http-addr", c.HTTPAddr}, {"gossip-addr", c.GossipAddr}, {"cluster-addr", c.ClusterAddr},
	} {
		for _, t := range taken {
			switch {
			case a.addr == t.addr && a.addr != "" && !strings.HasSuffix(a.addr, ":0"):
				return &Error{Key: a.key, Value: a.addr, Want: "it is that of " + t.key + " too, want another one"}
			case meet(a.addr, t.addr):
				return &Error{Key: a.key, Value: a.addr, Want: fmt.Sprintf("it takes in that of %s, %q, want another port", t.key, t.addr)}
			}
		}
		taken = append(taken, a)
	}
	return nil
}

// meet says whether two addresses cannot both be bound: of one port, and one of
// every interface or both of one host. Off, or any port that is free, meets none.
func meet(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	local := func(host string) string { // what localhost is mostly
		if host == "localhost" {
			return "127.0.0.1"
		}
		return host
	}
	return isUnspecified(a) || isUnspecified(b) || local(hostA) == local(hostB)
}

func (c Config) validateListeners() error {
	for _, l := range c.Listeners() {
		key := l.Name + "-addr"
		if l.TLS && len(c.TLS.Certs) == 0 {
			return &Error{Key: key, Value: l.Addr, Want: "TLS needs a certificate: set tls.cert and tls.key, in the file or by DUNLIN_TLS__CERT and DUNLIN_TLS__KEY"}
		}
		if !IsLoopback(l.Addr) && !c.Auth.Enabled() && !c.AllowAnonymous { // case 46
			return &Error{Key: key, Value: l.Addr, Want: "beyond loopback anybody could connect; want auth.users-file or auth.certificate to say who may, " +
				"a loopback address, or allow-anonymous to say that it is meant"}
		}
	}
	for _, l := range c.listeners() {
		if len(l.Proxies) > 0 && l.Addr == "" {
			return &Error{Key: "proxy-protocol." + l.Name, Value: c.value("proxy-protocol." + l.Name),
				Want: "there is no such listener, set " + l.Name + "-addr or leave this out"}
		}
	}
	if len(c.Listeners()) == 0 {
		return &Error{Key: "mqtt-addr", Value: "", Want: "want at least one listener"}
	}
	return nil
}

func (c Config) validateTLS() error {
	t := c.TLS
	switch {
	case len(t.Keys) == 0 && len(t.Certs) > 0:
		return &Error{Key: "tls.cert", Value: c.value("tls.cert"), Want: "a certificate needs its key: set tls.key"}
	case len(t.Keys) != len(t.Certs):
		return &Error{Key: "tls.key", Value: c.value("tls.key"), Want: fmt.Sprintf("want a key for each tls.cert, which are %d", len(t.Certs))}
	case t.ClientAuth != ClientAuthNone && t.ClientCA == "":
		return &Error{Key: "tls.client-auth", Value: string(t.ClientAuth), Want: "without tls.client-ca no certificate is good: set it, or want none"}
	case t.ClientAuth == ClientAuthNone && t.ClientCA != "":
		return &Error{Key: "tls.client-ca", Value: t.ClientCA, Want: "no client is asked for a certificate: set tls.client-auth to request or require, or leave this out"}
	}
	var e *secure.FileError
	if err := t.Files().Check(); errors.As(err, &e) {
		return &Error{Key: "tls." + e.Setting, Value: e.Path, Want: e.Err.Error()}
	}
	return nil
}

// validateAccess reads the files that say who may do what (case 45).
func (c Config) validateAccess() error {
	if c.Auth.ByCertificate() && c.TLS.ClientAuth == ClientAuthNone {
		return &Error{Key: "auth.certificate", Value: string(c.Auth.Certificate),
			Want: "no client is asked for a certificate: set tls.client-auth to request or require, or want none"}
	}
	if err := check("auth.users-file", c.Auth.UsersFile, users.Read); err != nil {
		return err
	}
	return check("acl.file", c.ACL.File, acl.Read)
}

// check says what is wrong with the file that a setting names, if it does.
func check[T any](key, path string, read func(io.Reader) (T, error)) error {
	if path == "" {
		return nil
	}
	if _, err := reload.ReadFile(path, read); err != nil {
		return &Error{Key: key, Value: path, Want: err.Error()}
	}
	return nil
}

// value is that of a setting, as it could be set.
func (c Config) value(key string) string {
	for _, s := range Settings(&c) {
		if s.Key == key {
			return s.Value()
		}
	}
	return ""
}

func (c Config) validateCluster() error {
	t := c.ClusterTLS
	for _, f := range []struct{ key, path string }{
		{"cluster-tls-cert", t.Cert}, {"cluster-tls-key", t.Key}, {"cluster-tls-ca", t.CA},
	} {
		if f.path == "" && t != (ClusterTLS{}) {
			return &Error{Key: f.key, Value: "", Want: "want a path, for cluster-tls-cert, -key and -ca go together"}
		}
	}
	for _, a := range []struct {
		name, addr, advertise string
		secured               bool
		need                  string
	}{
		{"gossip", c.GossipAddr, c.GossipAdvertiseAddr, c.GossipKey != nil, "gossip-key"},
		{"cluster", c.ClusterAddr, c.ClusterAdvertiseAddr, t.Enabled(), "cluster-tls-cert, -key and -ca"},
	} {
		switch {
		case !IsLoopback(a.addr) && !a.secured: // case 52
			return &Error{Key: a.name + "-addr", Value: a.addr,
				Want: "a cluster port beyond loopback never accepts a stranger: set " + a.need}
		case isUnspecified(a.addr) && a.advertise == "":
			return &Error{Key: a.name + "-addr", Value: a.addr,
				Want: "peers cannot use this address: set " + a.name + "-advertise-addr too"}
		case a.advertise != "" && isUnspecified(a.advertise):
			return &Error{Key: a.name + "-advertise-addr", Value: a.advertise, Want: "want an address that peers can use"}
		}
	}
	return nil
}
