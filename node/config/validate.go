package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"

	"dunlin/cluster"
	"dunlin/node/auth/acl"
	"dunlin/node/auth/jwt"
	"dunlin/node/auth/users"
	"dunlin/node/auth/webhook"
	"dunlin/node/listen/secure"
	"dunlin/node/reload"
	"dunlin/node/token"
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
	if err := c.validateHTTP(); err != nil {
		return err
	}
	return c.validateCluster()
}

func (c Config) validateHTTP() error {
	h := c.HTTP
	switch {
	case h.Cert == "" && h.Key != "":
		return &Error{Key: "http.tls-key", Value: h.Key, Want: "there is no certificate: set http.tls-cert too, or leave this out"}
	case h.Cert != "" && h.Key == "":
		return &Error{Key: "http.tls-cert", Value: h.Cert, Want: "a certificate needs its key: set http.tls-key"}
	case h.TLS() && h.Plaintext:
		return &Error{Key: "http.plaintext", Value: "true", Want: "http-addr speaks TLS by http.tls-cert: leave out one of the two"}
	}
	if h.TLS() {
		var e *secure.FileError
		if err := h.Files().Check(); errors.As(err, &e) {
			return &Error{Key: "http.tls-" + e.Setting, Value: e.Path, Want: e.Err.Error()}
		}
	}
	return check("http.token-file", h.TokenFile, token.ReadFile)
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
			return &Error{Key: key, Value: l.Addr, Want: "beyond loopback anybody could connect; want auth.users-file, auth.store, auth.certificate, auth.jwt or auth.webhook to say who may, " +
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
	case len(t.CRLFiles) > 0 && t.ClientCA == "":
		return &Error{Key: "tls.crl-file", Value: c.value("tls.crl-file"), Want: "no client is asked for a certificate: set tls.client-ca and tls.client-auth, or leave this out"}
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
	if c.Auth.OwnClientID && !c.Auth.Enabled() {
		return &Error{Key: "auth.own-client-id", Value: "true", Want: "nobody is asked who he is: want auth.users-file, auth.store, auth.certificate, auth.jwt or auth.webhook too, or false"}
	}
	if err := check("auth.users-file", c.Auth.UsersFile, users.Read); err != nil {
		return err
	}
	if err := c.validateJWT(); err != nil {
		return err
	}
	if err := c.validateWebhook(); err != nil {
		return err
	}
	return check("acl.file", c.ACL.File, acl.Read)
}

// validateJWT sees that what is said of tokens goes together.
func (c Config) validateJWT() error {
	j, preset := c.Auth.JWT, Default().Auth.JWT
	if !j.Enabled() && !reflect.DeepEqual(j, preset) {
		return &Error{Key: "auth.jwt.keys-file", Value: "", Want: "want the keys of tokens: set this, auth.jwt.secret-file, auth.jwt.keys-url or auth.jwt.discovery, or leave out what else is said of auth.jwt"}
	}
	if err := check("auth.jwt.keys-file", j.KeysFile, jwt.ReadKeys); err != nil {
		return err
	}
	if err := check("auth.jwt.secret-file", j.SecretFile, jwt.ReadSecret); err != nil {
		return err
	}
	if err := check("auth.jwt.ca-file", j.CAFile, jwt.ReadAuthorities); err != nil {
		return err
	}
	switch {
	case j.Discovery && j.KeysURL != "":
		return &Error{Key: "auth.jwt.discovery", Value: "true", Want: "the keys' place is said by auth.jwt.keys-url, set one of them"}
	case j.Discovery && jwt.CheckURL(j.Issuer) != nil:
		return &Error{Key: "auth.jwt.issuer", Value: j.Issuer, Want: "auth.jwt.discovery asks the issuer: " + jwt.CheckURL(j.Issuer).Error()}
	case j.CAFile != "" && !j.Fetches():
		return &Error{Key: "auth.jwt.ca-file", Value: j.CAFile, Want: "no keys are fetched: set auth.jwt.keys-url or auth.jwt.discovery, or leave this out"}
	case j.Keep < j.Refresh:
		return &Error{Key: "auth.jwt.keep", Value: c.value("auth.jwt.keep"), Want: "keys would not last until the next are fetched: want at least auth.jwt.refresh, " + c.value("auth.jwt.refresh")}
	}
	return nil
}

func (c Config) validateWebhook() error {
	h := c.Auth.Webhook
	if h.URL == "" {
		for _, f := range []struct{ key, path string }{{"ca-file", h.CAFile}, {"secret-file", h.SecretFile}} {
			if f.path != "" {
				return &Error{Key: "auth.webhook." + f.key, Value: f.path, Want: "nobody is asked: set auth.webhook.url, or leave this out"}
			}
		}
		return nil
	}
	if err := webhook.CheckURL(h.URL, h.PlainHTTP); err != nil {
		return &Error{Key: "auth.webhook.url", Value: h.URL, Want: err.Error()}
	}
	if h.CAFile != "" && !strings.HasPrefix(h.URL, "https:") {
		return &Error{Key: "auth.webhook.ca-file", Value: h.CAFile, Want: "auth.webhook.url is not https: leave this out"}
	}
	if err := check("auth.webhook.ca-file", h.CAFile, webhook.ReadCA); err != nil {
		return err
	}
	return check("auth.webhook.secret-file", h.SecretFile, webhook.ReadSecret)
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
		{"gossip", c.GossipAddr, c.GossipAdvertiseAddr, c.GossipKey != nil || c.GossipKeyFile != "", "gossip-key-file or gossip-key"},
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
	return c.validateSecrets()
}

// validateSecrets reads the files that nodes know each other by.
func (c Config) validateSecrets() error {
	if c.GossipKey != nil && c.GossipKeyFile != "" {
		return &Error{Key: "gossip-key-file", Value: c.GossipKeyFile, Want: "gossip-key is set too: want one of the two"}
	}
	if err := check("gossip-key-file", c.GossipKeyFile, cluster.ReadGossipKeys); err != nil {
		return err
	}
	if !c.ClusterTLS.Enabled() {
		return nil
	}
	if _, err := c.ClusterTLS.Files().Load(); err != nil {
		return &Error{Key: "cluster-tls-cert", Value: c.ClusterTLS.Cert, Want: err.Error()}
	}
	return nil
}
