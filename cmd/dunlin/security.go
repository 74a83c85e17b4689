package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"
)

// security is the flags of a client that speaks TLS.
type security struct {
	tls        bool
	caFile     string
	cert, key  string
	serverName string
	insecure   bool
}

func (s *security) bind(flags *pflag.FlagSet) {
	flags.BoolVar(&s.tls, "tls", false, "speak TLS, which the flags below ask for too; the system's authorities are trusted without --cafile")
	flags.StringVar(&s.caFile, "cafile", "", "PEM `file` with the authorities to trust")
	flags.StringVar(&s.cert, "cert", "", "PEM `file` with the client's own certificate; wants --key")
	flags.StringVar(&s.key, "key", "", "PEM `file` with its key")
	flags.StringVar(&s.serverName, "server-name", "", "`name` that the broker's certificate must have; else the host")
	flags.BoolVar(&s.insecure, "insecure", false, "take whatever certificate the broker has: for tests only")
}

// config is what the flags say, nil for no TLS.
func (s *security) config(host string) (*tls.Config, error) {
	if !s.tls && s.caFile == "" && s.cert == "" && s.key == "" && s.serverName == "" && !s.insecure {
		return nil, nil
	}
	c := &tls.Config{ServerName: host, NextProtos: []string{"mqtt"}, InsecureSkipVerify: s.insecure}
	if s.serverName != "" {
		c.ServerName = s.serverName
	}
	if (s.cert == "") != (s.key == "") {
		return nil, wrongUsage("--cert and --key go together")
	}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, wrongUsage("--cert %q with --key %q: %s", s.cert, s.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if s.caFile != "" {
		b, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, wrongUsage("--cafile: %s", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, wrongUsage("--cafile %q: no certificate in it", s.caFile)
		}
	}
	return c, nil
}
