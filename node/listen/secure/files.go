package secure

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Files are what a server's configuration is made of, in PEM.
type Files struct {
	Certs, Keys []string // pairs; which of them a client is shown, SNI decides, else it is the first
	ClientCA    string   // whose certificates of clients are good; "": nobody's
	CRLs        []string // lists of those that are revoked, in PEM or DER; none: nobody asks
	// Unlisted says that certificates are good of whose issuer no list is in force.
	Unlisted   bool
	ClientAuth tls.ClientAuthType
	MinVersion uint16
}

// FileError is the error of one of Files.
type FileError struct {
	Setting string // "cert", "key", "client-ca" or "crl-file"
	Path    string
	Err     error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("tls.%s: %q: %v", e.Setting, e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// credentials are Files as they were read at one time.
type credentials struct {
	mqtt, http *tls.Config
	expiry     time.Time    // of the certificate that expires first
	revoked    *revocations // nil without lists
}

// Check reads the files and says what is wrong with them: an error of type
// *FileError.
func (f Files) Check() error {
	_, err := f.load()
	return err
}

// load reads and parses the files.
func (f Files) load() (*credentials, error) {
	contents, err := f.read()
	if err != nil {
		return nil, err
	}
	c := &credentials{mqtt: &tls.Config{MinVersion: f.MinVersion, ClientAuth: f.ClientAuth, NextProtos: []string{MQTT}}}
	n := len(f.Certs)
	for k := range f.Certs {
		cert, err := pair(contents[k], contents[n+k])
		if err != nil {
			return nil, &FileError{"cert", f.Certs[k], fmt.Errorf("with key %q: %w", f.Keys[k], err)}
		}
		c.mqtt.Certificates = append(c.mqtt.Certificates, cert)
		if after := cert.Leaf.NotAfter; c.expiry.IsZero() || after.Before(c.expiry) {
			c.expiry = after
		}
	}
	if f.ClientCA != "" {
		c.mqtt.ClientCAs = x509.NewCertPool()
		if !c.mqtt.ClientCAs.AppendCertsFromPEM(contents[2*n]) {
			return nil, &FileError{"client-ca", f.ClientCA, errors.New("no certificate in it")}
		}
		if err := c.revoke(f, contents[2*n], contents[2*n+1:]); err != nil {
			return nil, err
		}
	}
	c.http = c.mqtt.Clone()
	c.http.NextProtos = []string{HTTP}
	return c, nil
}

// revoke has handshakes ask the lists, if there are any.
func (c *credentials) revoke(f Files, authorities []byte, lists [][]byte) error {
	if len(lists) == 0 {
		return nil
	}
	var k int
	var err error
	if c.revoked, k, err = newRevocations(lists, certificatesIn(authorities), f.Unlisted); err != nil {
		return &FileError{"crl-file", f.CRLs[k], err}
	}
	c.mqtt.VerifyConnection = func(s tls.ConnectionState) error { return c.revoked.verify(s.VerifiedChains) }
	return nil
}

// certificatesIn are those that x509.CertPool takes of a PEM file.
func certificatesIn(b []byte) (all []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return all
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, cert)
		}
	}
}

// paths are Certs, Keys, ClientCA and with that CRLs, in this order.
func (f Files) paths() []string {
	all := slices.Concat(f.Certs, f.Keys)
	if f.ClientCA != "" {
		all = append(append(all, f.ClientCA), f.CRLs...)
	}
	return all
}

// read returns what is in paths.
func (f Files) read() (contents [][]byte, err error) {
	for k, path := range f.paths() {
		b, err := os.ReadFile(path)
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, &FileError{f.settingOf(k), path, err}
		}
		contents = append(contents, b)
	}
	return contents, nil
}

// settingOf names the setting that the k-th of paths is of.
func (f Files) settingOf(k int) string {
	switch n := len(f.Certs); {
	case k < n:
		return "cert"
	case k < n+len(f.Keys):
		return "key"
	case k == n+len(f.Keys):
		return "client-ca"
	}
	return "crl-file"
}

// pair parses a certificate with its key.
func pair(cert, key []byte) (tls.Certificate, error) {
	if b, _ := pem.Decode(cert); b == nil {
		return tls.Certificate{}, errors.New("no PEM in the certificate's file")
	}
	if b, _ := pem.Decode(key); b == nil {
		return tls.Certificate{}, errors.New("no PEM in the key's file")
	}
	return tls.X509KeyPair(cert, key)
}
